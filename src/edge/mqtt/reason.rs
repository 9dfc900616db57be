//! Why a connection ended, in words for an operator. Pure.

mod tls;

use std::fmt::{Debug, Display};
use std::io::{self, ErrorKind};

use rumqttc::v5::mqttbytes::Error as CodecError;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, Disconnect, DisconnectReasonCode, PubAck};

use super::network::Error;
use super::{Broker, Options};

/// There was no connection yet.
pub(super) fn of_failure(broker: &Broker, why: impl Display) -> String {
    format!("failed to connect to {broker}: {why}")
}

/// The broker's CONNACK had come.
pub(super) fn of_loss(broker: &Broker, why: impl Display) -> String {
    format!("connection to {broker} lost: {why}")
}

pub(super) fn of_failed_network(error: &Error, options: &Options, broker: &Broker) -> String {
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
        Error::Stream(error) if tls::error(error).is_none() && is_hanging_up(error) => {
            format!("{}: {error}", of_silence(broker))
        }
        other => of_error(other, options, broker),
    };
    of_failure(broker, why)
}

pub(super) fn of_lost_network(error: &Error, options: &Options, broker: &Broker) -> String {
    let why = match error {
        // mosquitto 2.0 does not tell of a take-over.
        Error::Closed => format!(
            "closed by the broker; if this repeats, look for another client with the client_id \
             \"{}\"",
            options.client_id
        ),
        Error::Codec(error) => format!("what came is not MQTT 5: {error}"),
        other => of_error(other, options, broker),
    };
    of_loss(broker, why)
}

/// The broker's DISCONNECT.
pub(super) fn of_disconnect(disconnect: &Disconnect, options: &Options, broker: &Broker) -> String {
    let why = match disconnect.reason_code {
        DisconnectReasonCode::SessionTakenOver => format!(
            "session taken over: another client uses the client_id \"{}\"",
            options.client_id
        ),
        code => {
            let detail = disconnect.properties.as_ref().and_then(|it| it.reason_string.as_deref());
            with_detail("disconnected by the broker", &code, detail)
        }
    };
    of_loss(broker, why)
}

/// A PUBACK that is a refusal.
pub(super) fn of_puback(puback: &PubAck) -> String {
    let detail = puback.properties.as_ref().and_then(|p| p.reason_string.as_deref());
    with_detail("refused by the broker", &puback.reason, detail)
}

/// Why the broker does not want us, without its name.
pub(super) fn of_connack(code: ConnectReturnCode, options: &Options) -> String {
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
        _ => return format!("refused by the broker: {code:?}"),
    };
    format!("refused by the broker: {why} ({code:?})")
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

fn of_error(error: &Error, options: &Options, broker: &Broker) -> String {
    match error {
        Error::Stream(error) => tls::error(error)
            .map_or_else(|| error.to_string(), |error| tls::reason(error, options, broker)),
        other => other.to_string(),
    }
}

fn with_detail(what: &str, code: &impl Debug, detail: Option<&str>) -> String {
    match detail {
        Some(detail) => format!("{what}: {code:?} ({detail})"),
        None => format!("{what}: {code:?}"),
    }
}
