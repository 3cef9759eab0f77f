//! The way of a cell: target → provision → deploy the probe under a delivery → observe → rotate → observe → read the
//! audit log → judge → evidence → scorecard.
//!
//! Data goes one way. Drivers know nothing of checks, checks know nothing of vendors, judgements do no input or output.

pub mod candidate;
pub mod cell;
pub mod check;
pub mod cli;
pub mod compose;
pub mod contract;
pub mod delivery;
pub mod door;
pub mod error;
pub mod evidence;
pub mod fault;
pub mod files;
pub mod hold;
pub mod load;
pub mod matrix;
pub mod net;
pub mod observations;
pub mod platform;
pub mod preflight;
pub mod random;
pub mod reach;
pub mod ready;
pub mod reap;
pub mod redact;
pub mod report;
pub mod run;
pub mod target;
pub mod tools;
pub mod verdict;
pub mod way;

pub use cluster::procfs;
