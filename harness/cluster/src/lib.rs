//! `scratch`: a fresh Kubernetes of one node, up in seconds, of real binaries in a folder.
//!
//! etcd, the API server, the controller manager, the scheduler, the kubelet and kube-proxy run as plain processes, with
//! containerd, runc and CNI plugins of this machine. Nothing is pulled and no Docker is needed: images are made of static
//! binaries, and loaded.
//!
//! Every cluster lives in namespaces of its own: processes, mounts and network. So two of them on one machine cannot meet:
//! each has its own ports, sockets, addresses, `/run`, `/var` and kube-proxy rules. And none leaves anything behind: when
//! the first process of the namespace is killed, the kernel takes all the others, the mounts, the links and the rules.
//! What remains is a cgroup per hierarchy, one end of a link and the folder, and [`down()`] removes these. What kubelet,
//! etcd and containerd keep is in memory, so no Secret reaches a disk.
//!
//! The machine has a route to every pod and every Service of a cluster, and pods reach the machine at
//! [`Cluster::machine`]. They reach nothing else: there is no way out, and no cluster DNS.
//!
//! Measured with Kubernetes 1.20.2 and 1.36.2; flags of the versions between them follow their documentation.

mod api;
mod binaries;
mod certificates;
mod cgroup;
mod cluster;
mod component;
mod down;
mod error;
mod image;
mod namespace;
mod network;
pub mod procfs;
mod record;
mod up;

pub use binaries::{ASSETS, BUILT, Binaries, Version};
pub use cluster::Cluster;
pub use component::{Component, PAUSE_IMAGE};
pub use down::{down, reap};
pub use error::Unusable;
pub use image::ImageTar;
pub use up::Options;
