//! Where others are: `udpin:<address>:<port>`, `udpout:<host>:<port>`, `tcpin:<address>:<port>`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use super::super::endpoint::host_and_port;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForwardEndpoint {
    /// Waits for datagrams, and sends to whoever sent the last MAVLink frame.
    UdpIn { bind: SocketAddr },
    /// Sends there, and listens to nobody else.
    UdpOut {
        /// A name or an address, IPv6 without brackets.
        host: String,
        port: u16,
    },
    /// Serves one connection; a newer one takes its place.
    TcpIn { bind: SocketAddr },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForwardEndpointError {
    #[error(
        "forward endpoint {0:?} is none of udpin:<address>:<port>, udpout:<host>:<port>, \
         tcpin:<address>:<port>"
    )]
    UnknownKind(String),
    #[error("forward endpoint {0:?} needs an IP address and a port, as in udpin:127.0.0.1:14560")]
    Bind(String),
    #[error("forward endpoint {0:?} needs a host and a port, as in udpout:127.0.0.1:14550")]
    Host(String),
}

impl ForwardEndpoint {
    /// Whether only processes of this computer can be at the other end.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::UdpIn { bind } | Self::TcpIn { bind } => bind.ip().is_loopback(),
            Self::UdpOut { host, .. } => {
                host == "localhost" || host.parse().is_ok_and(|host: IpAddr| host.is_loopback())
            }
        }
    }
}

impl FromStr for ForwardEndpoint {
    type Err = ForwardEndpointError;

    fn from_str(text: &str) -> Result<Self, ForwardEndpointError> {
        let bind = |rest: &str| {
            let bind = rest.parse::<SocketAddr>().ok().filter(|bind| bind.port() != 0);
            bind.ok_or_else(|| ForwardEndpointError::Bind(text.to_owned()))
        };
        match text.split_once(':') {
            Some(("udpin", rest)) => Ok(Self::UdpIn { bind: bind(rest)? }),
            Some(("tcpin", rest)) => Ok(Self::TcpIn { bind: bind(rest)? }),
            Some(("udpout", rest)) => match host_and_port(rest) {
                Some((host, port)) => Ok(Self::UdpOut { host, port }),
                None => Err(ForwardEndpointError::Host(text.to_owned())),
            },
            _ => Err(ForwardEndpointError::UnknownKind(text.to_owned())),
        }
    }
}

impl fmt::Display for ForwardEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UdpIn { bind } => write!(f, "udpin:{bind}"),
            Self::UdpOut { host, port } if host.contains(':') => {
                write!(f, "udpout:[{host}]:{port}")
            }
            Self::UdpOut { host, port } => write!(f, "udpout:{host}:{port}"),
            Self::TcpIn { bind } => write!(f, "tcpin:{bind}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_endpoints_parse_and_print_as_they_were() {
        for (text, is_loopback) in [
            ("udpin:127.0.0.1:14560", true),
            ("udpin:0.0.0.0:14560", false),
            ("udpin:[::1]:14560", true),
            ("tcpin:127.0.0.1:5760", true),
            ("tcpin:192.168.1.2:5760", false),
            ("udpout:127.0.0.1:14550", true),
            ("udpout:localhost:14550", true),
            ("udpout:[::1]:14550", true),
            ("udpout:gcs.example:14550", false),
            ("udpout:10.0.0.2:14550", false),
        ] {
            let endpoint: ForwardEndpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), text);
            assert_eq!(endpoint.is_loopback(), is_loopback, "{text}");
        }
    }

    #[test]
    fn bad_endpoints_are_refused_by_name() {
        for text in [
            "",
            "udpin",
            "serial:/dev/ttyAMA0:921600",
            "tcpout:localhost:4560",
            "udpin:localhost:14560",
            "udpin:127.0.0.1:0",
            "tcpin:127.0.0.1",
            "udpout:127.0.0.1",
            "udpout:a b:14550",
            "udpout::14550",
        ] {
            let error = text.parse::<ForwardEndpoint>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }
}
