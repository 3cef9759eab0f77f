//! `conformance images`.

use std::path::PathBuf;

use anyhow::Result;

use super::EXIT_PASSED;
use crate::platform::kubernetes::{REGISTRY, write_all};
use crate::tools;

#[derive(clap::Args)]
#[command(after_help = "Every container tool takes such an archive: `docker load`, `ctr images import`, `skopeo copy \
                        docker-archive:…`. With CONFORMANCE_KUBERNETES_REGISTRY the images are named as a run then \
                        names them, for that registry.")]
pub(super) struct Args {
    /// Where the archives go, one for each image
    folder: PathBuf,
}

pub(super) async fn images(args: &Args) -> Result<u8> {
    let tools = tools::prepare(&|what| anstream::eprintln!("{what}"))?;
    for (image, file) in write_all(&tools, &args.folder).await? {
        anstream::println!("{image} {}", file.display());
    }
    if std::env::var_os(REGISTRY).is_none() {
        anstream::eprintln!("no {REGISTRY} is set: the images are named for a node that they are loaded to");
    }
    Ok(EXIT_PASSED)
}
