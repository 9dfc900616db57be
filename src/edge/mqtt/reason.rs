//! Why a connection ended, in words for an operator. Pure.

mod tls;

use std::fmt::Debug;
use std::io::{self, ErrorKind};

use rumqttc::TlsError;
use rumqttc::v5::mqttbytes::Error as MqttError;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, DisconnectReasonCode, PubAck};
use rumqttc::v5::{ConnectionError, StateError};

use super::{Broker, Options};

/// `connected`: whether the broker's CONNACK had come.
pub(super) fn of(
    error: &ConnectionError,
    options: &Options,
    broker: &Broker,
    connected: bool,
) -> String {
    if connected {
        format!("connection to {broker} lost: {}", of_loss(error, options, broker))
    } else {
        format!("failed to connect to {broker}: {}", of_failure(error, options, broker))
    }
}

/// A PUBACK that is a refusal.
pub(super) fn of_puback(puback: &PubAck) -> String {
    let detail = puback.properties.as_ref().and_then(|p| p.reason_string.as_deref());
    with_detail("refused by the broker", &puback.reason, detail)
}

fn of_loss(error: &ConnectionError, options: &Options, broker: &Broker) -> String {
    let client_id = &options.client_id;
    match error {
        ConnectionError::MqttState(StateError::ServerDisconnect {
            reason_code: DisconnectReasonCode::SessionTakenOver,
            ..
        }) => format!("session taken over: another client uses the client_id \"{client_id}\""),
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, reason_string }) => {
            with_detail("disconnected by the broker", reason_code, reason_string.as_deref())
        }
        // rumqttc cannot read mosquitto's short form of DISCONNECT, so this may be a take-over.
        ConnectionError::MqttState(StateError::ConnectionAborted) => format!(
            "closed by the broker; if this repeats, look for another client with the client_id \
             \"{client_id}\""
        ),
        ConnectionError::MqttState(StateError::AwaitPingResp) => "no answer to a ping".to_owned(),
        _ => match io_error(error) {
            Some(error) => tls::error(error)
                .map_or_else(|| error.to_string(), |error| tls::reason(error, options, broker)),
            None => error.to_string(),
        },
    }
}

fn of_failure(error: &ConnectionError, options: &Options, broker: &Broker) -> String {
    match error {
        ConnectionError::ConnectionRefused(code) => of_connack(*code, options),
        ConnectionError::Timeout(_) => "no answer in time".to_owned(),
        ConnectionError::MqttState(StateError::ConnectionAborted) => of_silence(broker).to_owned(),
        ConnectionError::MqttState(StateError::Deserialization(error))
            if !matches!(error, MqttError::Io(_)) =>
        {
            let perhaps = if broker.tls { "" } else { "; perhaps it is TLS (mqtts://)" };
            format!("what answers is not MQTT 5{perhaps}: {error}")
        }
        _ => match io_error(error) {
            Some(error) => match tls::error(error) {
                Some(error) => tls::reason(error, options, broker),
                None if is_hanging_up(error) => format!("{}: {error}", of_silence(broker)),
                None => error.to_string(),
            },
            None => error.to_string(),
        },
    }
}

fn of_connack(code: ConnectReturnCode, options: &Options) -> String {
    let why = match code {
        ConnectReturnCode::BadUserNamePassword => "the user name or the password is wrong",
        // Also mosquitto's answer to a wrong password.
        ConnectReturnCode::NotAuthorized => match options.username {
            Some(_) => "the user name or the password is wrong, or the user may not connect",
            None => "it wants a user name and a password, or does not allow this client",
        },
        ConnectReturnCode::ClientIdentifierNotValid | ConnectReturnCode::BadClientId => {
            "it does not take this client_id"
        }
        ConnectReturnCode::UnsupportedProtocolVersion
        | ConnectReturnCode::RefusedProtocolVersion => "it does not speak MQTT 5",
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

fn io_error(error: &ConnectionError) -> Option<&io::Error> {
    match error {
        ConnectionError::Io(error)
        | ConnectionError::Tls(TlsError::Io(error))
        | ConnectionError::MqttState(
            StateError::Io(error) | StateError::Deserialization(MqttError::Io(error)),
        ) => Some(error),
        _ => None,
    }
}

fn with_detail(what: &str, code: &impl Debug, detail: Option<&str>) -> String {
    match detail {
        Some(detail) => format!("{what}: {code:?} ({detail})"),
        None => format!("{what}: {code:?}"),
    }
}
