//! Why there is no connection, in words for an operator. Pure.

mod tls;

use std::fmt::{Debug, Display};
use std::io::{self, ErrorKind};

use rumqttc::v5::mqttbytes::Error as CodecError;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, Disconnect, DisconnectReasonCode, PubAck};

use super::network::Error;
use super::{Broker, NotPublished, Options};

/// One kind for each thing there is to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Nobody answered, or not in MQTT 5, or not in a TLS that we know.
    #[error("failed to connect to {broker}: {why}")]
    Unreachable { broker: Broker, why: String },
    /// Our files do not serve, or one side does not believe the other.
    #[error("failed to connect to {broker}: {why}")]
    Tls { broker: Broker, why: String },
    /// By its CONNACK.
    #[error("failed to connect to {broker}: refused by the broker: {why}")]
    Refused { broker: Broker, why: String },
    #[error("subscription to \"{filter}\" {why}")]
    Subscription { filter: String, why: String },
    /// After the broker's CONNACK.
    #[error("connection to {broker} lost: {why}")]
    Lost { broker: Broker, why: String },
}

impl Reason {
    pub(super) fn unreachable(broker: &Broker, why: impl Display) -> Self {
        Self::Unreachable { broker: broker.clone(), why: why.to_string() }
    }

    pub(super) fn tls(broker: &Broker, why: impl Display) -> Self {
        Self::Tls { broker: broker.clone(), why: why.to_string() }
    }

    pub(super) fn subscription(filter: &str, why: impl Display) -> Self {
        Self::Subscription { filter: filter.to_owned(), why: why.to_string() }
    }

    pub(super) fn lost(broker: &Broker, why: impl Display) -> Self {
        Self::Lost { broker: broker.clone(), why: why.to_string() }
    }
}

pub(super) fn of_failed_network(error: &Error, options: &Options, broker: &Broker) -> Reason {
    let why = match error {
        Error::Closed => of_silence(broker).to_owned(),
        // MQTT 3.1.1, 3.2.2.3: unacceptable protocol version.
        Error::Codec(CodecError::InvalidConnectReturnCode(1)) => {
            "it does not speak MQTT 5".to_owned()
        }
        Error::Codec(error) => {
            let perhaps = if broker.tls { "" } else { "; perhaps it is TLS (mqtts://)" };
            format!("what answers is not MQTT 5{perhaps}: {error}")
        }
        Error::Stream(error) => match tls::error(error) {
            Some(error) if tls::is_distrust(error) => {
                return Reason::tls(broker, tls::reason(error, options, broker));
            }
            Some(error) => tls::reason(error, options, broker),
            None if is_hanging_up(error) => format!("{}: {error}", of_silence(broker)),
            None => error.to_string(),
        },
        Error::Name(_) => error.to_string(),
    };
    Reason::unreachable(broker, why)
}

pub(super) fn of_lost_network(error: &Error, options: &Options, broker: &Broker) -> Reason {
    let why = match error {
        // mosquitto 2.0 does not tell of a take-over.
        Error::Closed => format!(
            "closed by the broker; if this repeats, look for another client with the client_id \
             \"{}\"",
            options.client_id
        ),
        Error::Codec(error) => format!("what came is not MQTT 5: {error}"),
        Error::Stream(error) => tls::error(error)
            .map_or_else(|| error.to_string(), |error| tls::reason(error, options, broker)),
        Error::Name(_) => error.to_string(),
    };
    Reason::lost(broker, why)
}

/// The broker's DISCONNECT.
pub(super) fn of_disconnect(disconnect: &Disconnect, options: &Options, broker: &Broker) -> Reason {
    let why = match disconnect.reason_code {
        DisconnectReasonCode::SessionTakenOver => format!(
            "session taken over: another client uses the client_id \"{}\"",
            options.client_id
        ),
        code => {
            let detail = disconnect.properties.as_ref().and_then(|it| it.reason_string.as_deref());
            format!("disconnected by the broker: {}", with_detail(&code, detail))
        }
    };
    Reason::lost(broker, why)
}

/// A PUBACK that is a refusal.
pub(super) fn of_puback(puback: &PubAck) -> NotPublished {
    let detail = puback.properties.as_ref().and_then(|p| p.reason_string.as_deref());
    NotPublished::Refused(with_detail(&puback.reason, detail))
}

/// The broker's CONNACK.
pub(super) fn of_connack(code: ConnectReturnCode, options: &Options, broker: &Broker) -> Reason {
    let refused = |why| Reason::Refused { broker: broker.clone(), why };
    let why = match code {
        ConnectReturnCode::BadUserNamePassword => "the user name or the password is wrong",
        // Also mosquitto's answer to a wrong password.
        ConnectReturnCode::NotAuthorized => match options.username {
            Some(_) => "the user name or the password is wrong, or the user may not connect",
            None => "it wants a user name and a password, or does not allow this client",
        },
        ConnectReturnCode::ClientIdentifierNotValid => "it does not take this client_id",
        ConnectReturnCode::UnsupportedProtocolVersion => "it does not speak MQTT 5",
        ConnectReturnCode::Banned => "it has banned this client",
        _ => return refused(format!("{code:?}")),
    };
    refused(format!("{why} ({code:?})"))
}

/// The peer hung up before it had said anything in MQTT.
fn of_silence(broker: &Broker) -> &'static str {
    if broker.tls {
        "closed by the broker; perhaps this port does not speak TLS (mqtt://), or the broker wants a \
         client certificate that it knows"
    } else {
        "closed by the broker; perhaps this port speaks TLS (mqtts://)"
    }
}

fn is_hanging_up(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
    )
}

fn with_detail(code: &impl Debug, detail: Option<&str>) -> String {
    match detail {
        Some(detail) => format!("{code:?} ({detail})"),
        None => format!("{code:?}"),
    }
}
