//! Loopback addresses and ports of our own, and whom a client trusts.

use std::net::{IpAddr, Ipv4Addr, TcpListener};

use anyhow::{Context, Result, ensure};
use reqwest::{Certificate, ClientBuilder};

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

/// A client that trusts these authorities (PEM) for what is at `address`, those of the system where none are given, and
/// none where nothing is encrypted: reading the system's takes each process some milliseconds.
///
/// # Errors
/// There is no certificate in what is given.
pub fn trusting(client: ClientBuilder, address: &str, authorities: Option<&[u8]>) -> Result<ClientBuilder> {
    Ok(match authorities {
        Some(pem) => {
            let found = Certificate::from_pem_bundle(pem).context("failed to read the authorities")?;
            ensure!(!found.is_empty(), "failed to read the authorities: no certificate in them");
            client.tls_certs_only(found)
        }
        None if address.starts_with("http:") => client.tls_certs_only([]),
        None => client,
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::plain("http://127.0.0.1:8200", None, true)]
    #[case::systems("https://127.0.0.1:8200", None, true)]
    #[case::nothing("https://127.0.0.1:8200", Some(""), false)]
    #[case::no_pem("https://127.0.0.1:8200", Some("trust me"), false)]
    fn authorities_that_are_given_are_there(
        #[case] address: &str,
        #[case] authorities: Option<&str>,
        #[case] usable: bool,
    ) {
        let client = trusting(reqwest::Client::builder(), address, authorities.map(str::as_bytes));
        assert_eq!(client.is_ok(), usable);
    }
}
