//! Why a connection ended, in words for an operator. Pure.

use std::fmt::Debug;

use rumqttc::v5::mqttbytes::v5::{DisconnectReasonCode, PubAck};
use rumqttc::v5::{ConnectionError, StateError};

use super::Options;

/// `connected`: whether the broker's CONNACK had come.
pub(super) fn of(error: &ConnectionError, options: &Options, connected: bool) -> String {
    let Options { host, port, client_id, .. } = options;
    match error {
        ConnectionError::ConnectionRefused(code) => {
            format!("connection refused by the broker at {host}:{port}: {code:?}")
        }
        ConnectionError::MqttState(state) if connected => match state {
            StateError::ServerDisconnect {
                reason_code: DisconnectReasonCode::SessionTakenOver,
                ..
            } => {
                format!("session taken over: another client uses the client_id \"{client_id}\"")
            }
            StateError::ServerDisconnect { reason_code, reason_string } => {
                with_detail("disconnected by the broker", reason_code, reason_string.as_deref())
            }
            // rumqttc cannot read mosquitto's short form of DISCONNECT, so this may be a take-over.
            StateError::ConnectionAborted => format!(
                "connection to {host}:{port} closed by the broker; if this repeats, look for \
                 another client with the client_id \"{client_id}\""
            ),
            StateError::AwaitPingResp => {
                format!("connection to {host}:{port} lost: no answer to a ping")
            }
            other => format!("connection to {host}:{port} lost: {other}"),
        },
        ConnectionError::Timeout(_) => {
            format!("failed to connect to {host}:{port}: no answer in time")
        }
        ConnectionError::Io(error) if !connected => {
            format!("failed to connect to {host}:{port}: {error}")
        }
        other if connected => format!("connection to {host}:{port} lost: {other}"),
        other => format!("failed to connect to {host}:{port}: {other}"),
    }
}

/// A PUBACK that is a refusal.
pub(super) fn of_puback(puback: &PubAck) -> String {
    let detail = puback.properties.as_ref().and_then(|p| p.reason_string.as_deref());
    with_detail("refused by the broker", &puback.reason, detail)
}

fn with_detail(what: &str, code: &impl Debug, detail: Option<&str>) -> String {
    match detail {
        Some(detail) => format!("{what}: {code:?} ({detail})"),
        None => format!("{what}: {code:?}"),
    }
}
