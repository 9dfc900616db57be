//! Where a broker is.

use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// A name, an IPv4 address, or an IPv6 address without brackets.
    pub host: String,
    pub port: u16,
    pub tls: bool,
}

impl fmt::Display for Broker {
    /// `mqtts://HOST:PORT`, or `mqtt://` without TLS.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, tls } = self;
        let scheme = if *tls { "mqtts" } else { "mqtt" };
        if host.contains(':') {
            write!(f, "{scheme}://[{host}]:{port}")
        } else {
            write!(f, "{scheme}://{host}:{port}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_shown_as_its_url() {
        let mut broker = Broker { host: "broker.example".into(), port: 8883, tls: true };
        assert_eq!(broker.to_string(), "mqtts://broker.example:8883");
        broker = Broker { host: "::1".into(), port: 1883, tls: false };
        assert_eq!(broker.to_string(), "mqtt://[::1]:1883");
    }
}
