//! Loopback addresses and ports of our own.

use std::net::{IpAddr, Ipv4Addr, TcpListener};

use anyhow::{Context, Result};

/// A loopback address that no other process of this machine picks: it is made of this process's id, which is below
/// 2^22. A port that is free on it stays free until this process takes it, so cells never race for ports.
pub fn own_loopback() -> IpAddr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(127, 64 + (high & 0x3f), middle, low))
}

/// A port that is free on this address.
///
/// # Errors
/// There is none.
pub fn free_port(ip: IpAddr) -> Result<u16> {
    let listener = TcpListener::bind((ip, 0)).with_context(|| format!("failed to find a free port on {ip}"))?;
    Ok(listener.local_addr().context("failed to read the free port")?.port())
}
