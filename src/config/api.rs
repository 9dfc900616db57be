//! `[api]`: the way to the agent from its own machine, and from elsewhere where it is asked for.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::Deserialize;

use super::{Mistake, value};

/// Where the local API listens unless configured.
pub const DEFAULT_SOCKET: &str = "/run/downlinkd/api.sock";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Api {
    /// The operators' socket.
    pub socket: PathBuf,
    /// For plain HTTP; `None`: not at all.
    pub listen: Option<SocketAddr>,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawApi {
    pub(super) socket: PathBuf,
    listen: Option<String>,
}

impl Default for RawApi {
    fn default() -> Self {
        Self { socket: PathBuf::from(DEFAULT_SOCKET), listen: None }
    }
}

impl RawApi {
    pub(super) fn check(self) -> Result<Api, Mistake> {
        let listen = self.listen.map(|text| address(&text)).transpose()?;
        Ok(Api { socket: self.socket, listen })
    }
}

/// A port alone is one of the loopback address.
fn address(text: &str) -> Result<SocketAddr, Mistake> {
    let loopback = || text.parse().ok().map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let address = text.parse().ok().or_else(loopback).filter(|address| address.port() != 0);
    address.ok_or_else(|| {
        let message = format!(
            "{text:?} is not an address to listen on; it must be a port from 1 to 65535 (of \
             127.0.0.1 alone) or ADDRESS:PORT, such as \"8080\", \"192.168.1.7:8080\" or \
             \"[::1]:8080\""
        );
        value("api", "listen", message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_for_this_machine_alone() {
        let listen = |text: &str| address(text).map(|it| it.to_string()).map_err(|it| it.message);
        assert_eq!(listen("8080").unwrap(), "127.0.0.1:8080");
        assert_eq!(listen("0.0.0.0:80").unwrap(), "0.0.0.0:80");
        assert_eq!(listen("[::1]:8080").unwrap(), "[::1]:8080");
        for wrong in ["", "0", "65536", "-1", ":8080", "localhost:8080", "127.0.0.1", "1.2.3.4:0"] {
            assert!(listen(wrong).unwrap_err().contains("[::1]:8080"), "{wrong}");
        }
    }
}
