//! Where the autopilot is: `serial:<path>:<baud>[:rtscts]`, `udpin:<address>:<port>`, `tcpout:<host>:<port>`.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Serial {
        /// Absolute; may contain colons, as the names in `/dev/serial/by-path` do.
        path: String,
        /// Bits per second, from 1200.
        baud: u32,
        /// RTS/CTS hardware flow control; all four lines must be wired.
        rtscts: bool,
    },
    /// Waits for datagrams and answers whoever sent the last MAVLink frame.
    UdpIn { bind: SocketAddr },
    TcpOut {
        /// A name or an address, IPv6 without brackets.
        host: String,
        port: u16,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    #[error(
        "link endpoint {0:?} is none of serial:<path>:<baud>[:rtscts], udpin:<address>:<port>, tcpout:<host>:<port>"
    )]
    UnknownKind(String),
    #[error(
        "serial endpoint {0:?} needs an absolute path and a baud rate, as in serial:/dev/ttyAMA0:921600"
    )]
    Serial(String),
    #[error(
        "serial endpoint {endpoint:?} ends in {baud:?} instead of a baud rate of 1200 or more, which \
         only :rtscts may follow"
    )]
    Baud { endpoint: String, baud: String },
    #[error("udpin endpoint {0:?} needs an IP address and a port, as in udpin:0.0.0.0:14540")]
    UdpIn(String),
    #[error(
        "tcpout endpoint {0:?} needs a host and a port, as in tcpout:localhost:4560 or tcpout:[::1]:4560"
    )]
    TcpOut(String),
}

const RTSCTS: &str = ":rtscts";
const LOWEST_BAUD: u32 = 1200;

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        match text.split_once(':') {
            Some(("serial", rest)) => serial(text, rest),
            Some(("udpin", rest)) => udp_in(text, rest),
            Some(("tcpout", rest)) => tcp_out(text, rest),
            _ => Err(EndpointError::UnknownKind(text.to_owned())),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serial { path, baud, rtscts } => {
                write!(f, "serial:{path}:{baud}{}", if *rtscts { RTSCTS } else { "" })
            }
            Self::UdpIn { bind } => write!(f, "udpin:{bind}"),
            Self::TcpOut { host, port } if host.contains(':') => {
                write!(f, "tcpout:[{host}]:{port}")
            }
            Self::TcpOut { host, port } => write!(f, "tcpout:{host}:{port}"),
        }
    }
}

fn serial(text: &str, rest: &str) -> Result<Endpoint, EndpointError> {
    let (line, rtscts) = match rest.strip_suffix(RTSCTS) {
        Some(line) => (line, true),
        None => (rest, false),
    };
    // The last colon, since paths have colons of their own.
    let Some((path, baud)) = line.rsplit_once(':') else {
        return Err(EndpointError::Serial(text.to_owned()));
    };
    if !path.starts_with('/') || path.ends_with('/') {
        return Err(EndpointError::Serial(text.to_owned()));
    }
    match baud.parse() {
        Ok(number) if number >= LOWEST_BAUD => {
            Ok(Endpoint::Serial { path: path.to_owned(), baud: number, rtscts })
        }
        _ => Err(EndpointError::Baud { endpoint: text.to_owned(), baud: baud.to_owned() }),
    }
}

fn udp_in(text: &str, rest: &str) -> Result<Endpoint, EndpointError> {
    match rest.parse::<SocketAddr>() {
        Ok(bind) if bind.port() != 0 => Ok(Endpoint::UdpIn { bind }),
        _ => Err(EndpointError::UdpIn(text.to_owned())),
    }
}

fn tcp_out(text: &str, rest: &str) -> Result<Endpoint, EndpointError> {
    let wrong = || EndpointError::TcpOut(text.to_owned());
    let (host, port) = rest.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().ok().filter(|&port| port != 0).ok_or_else(wrong)?;
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address,
        // An IPv6 address without brackets does not say where it ends.
        None if host.contains([':', '[', ']']) => return Err(wrong()),
        None => host,
    };
    if host.is_empty() || host.contains(char::is_whitespace) {
        return Err(wrong());
    }
    Ok(Endpoint::TcpOut { host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serial(path: &str, baud: u32) -> Endpoint {
        Endpoint::Serial { path: path.to_owned(), baud, rtscts: false }
    }

    fn tcp_out(host: &str, port: u16) -> Endpoint {
        Endpoint::TcpOut { host: host.to_owned(), port }
    }

    #[test]
    fn good_endpoints_parse_and_print_as_they_were() {
        let by_path = "/dev/serial/by-path/platform-fd500000.pcie-pci-0000:01:00.0-usb-0:1.2:1.0";
        for (text, endpoint) in [
            ("serial:/dev/ttyAMA0:921600", serial("/dev/ttyAMA0", 921_600)),
            ("serial:/dev/ttyS0:1200", serial("/dev/ttyS0", 1200)),
            (
                "serial:/dev/ttyTHS1:3000000:rtscts",
                Endpoint::Serial { path: "/dev/ttyTHS1".to_owned(), baud: 3_000_000, rtscts: true },
            ),
            (&format!("serial:{by_path}:57600"), serial(by_path, 57_600)),
            (
                "udpin:0.0.0.0:14540",
                Endpoint::UdpIn { bind: SocketAddr::from(([0, 0, 0, 0], 14_540)) },
            ),
            ("udpin:[::1]:1", Endpoint::UdpIn { bind: "[::1]:1".parse().unwrap() }),
            ("tcpout:localhost:4560", tcp_out("localhost", 4560)),
            ("tcpout:10.0.0.2:65535", tcp_out("10.0.0.2", 65_535)),
            ("tcpout:[fe80::1]:4560", tcp_out("fe80::1", 4560)),
        ] {
            assert_eq!(text.parse(), Ok(endpoint.clone()), "{text}");
            assert_eq!(endpoint.to_string(), text);
        }
    }

    #[test]
    fn bad_endpoints_are_refused_by_name() {
        type Refusal = fn(String) -> EndpointError;
        let cases: [(Refusal, &[&str]); 4] = [
            (
                EndpointError::UnknownKind,
                &["", "serial", "/dev/ttyAMA0:921600", "udp:0.0.0.0:1", "Serial:/dev/x:9600", ":"],
            ),
            (
                EndpointError::Serial,
                &[
                    "serial:",
                    "serial:/dev/ttyAMA0",
                    "serial:/dev/ttyAMA0:rtscts",
                    "serial:ttyAMA0:9600",
                    "serial:/:9600",
                ],
            ),
            (
                EndpointError::UdpIn,
                &["udpin:", "udpin:0.0.0.0", "udpin:localhost:14540", "udpin:0.0.0.0:0"],
            ),
            (
                EndpointError::TcpOut,
                &[
                    "tcpout:",
                    "tcpout:localhost",
                    "tcpout::4560",
                    "tcpout:localhost:0",
                    "tcpout:localhost:65536",
                    "tcpout:::1:4560",
                    "tcpout:[]:4560",
                    "tcpout:a b:4560",
                ],
            ),
        ];
        for (refusal, texts) in cases {
            for text in texts {
                let error = text.parse::<Endpoint>().unwrap_err();
                assert_eq!(error, refusal((*text).to_owned()), "{text}");
                assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
            }
        }
        for baud in ["0", "1199", "fast", "", "-9600", "4294967296", "RTSCTS", "xonxoff"] {
            let endpoint = format!("serial:/dev/ttyAMA0:{baud}");
            let error = endpoint.parse::<Endpoint>().unwrap_err();
            assert_eq!(error, EndpointError::Baud { endpoint, baud: baud.to_owned() });
        }
    }
}
