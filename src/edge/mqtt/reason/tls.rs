//! What went wrong in TLS: which side did not believe the other, and why. Pure.

use std::io;
use std::time::{Duration, UNIX_EPOCH};

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error};

use crate::edge::mqtt::{Broker, Options};

/// What rustls told, inside of the stream's error.
pub(super) fn error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// One side does not believe the other.
pub(super) fn is_distrust(error: &Error) -> bool {
    matches!(error, Error::InvalidCertificate(_) | Error::AlertReceived(_))
}

pub(super) fn reason(error: &Error, options: &Options, broker: &Broker) -> String {
    match error {
        Error::InvalidCertificate(error) => of_certificate(error, options, broker),
        Error::AlertReceived(alert) => of_alert(*alert, options),
        Error::InvalidMessage(_) => {
            format!("what answers does not speak TLS; perhaps it is plain TCP (mqtt://): {error}")
        }
        Error::PeerIncompatible(_) => {
            format!("no TLS that both sides know; ours are 1.2 and 1.3: {error}")
        }
        other => format!("TLS: {other}"),
    }
}

/// We do not believe the broker.
fn of_certificate(error: &CertificateError, options: &Options, broker: &Broker) -> String {
    let why = match error {
        CertificateError::UnknownIssuer => {
            format!("is signed by nobody in ca_file {}", options.tls.ca_file.display())
        }
        CertificateError::ExpiredContext { time, not_after } => {
            format!("has expired at {}; the clock here says {}", text(*not_after), text(*time))
        }
        CertificateError::NotValidYetContext { time, not_before } => format!(
            "is valid only from {}; the clock here says {} and may be wrong",
            text(*not_before),
            text(*time)
        ),
        CertificateError::NotValidForNameContext { presented, .. } => {
            let names = if presented.is_empty() {
                "no name (subjectAltName)".to_owned()
            } else {
                presented.join(", ")
            };
            format!("is for {names}, not for {}", broker.host)
        }
        other => format!("does not do: {other}"),
    };
    format!("the broker's certificate {why}")
}

/// The broker does not believe us.
fn of_alert(alert: AlertDescription, options: &Options) -> String {
    let Some(client) = &options.tls.client else {
        let why = match alert {
            AlertDescription::CertificateRequired => {
                "it wants a client certificate: cert_file and key_file"
            }
            // TLS 1.2 has no other word for it.
            AlertDescription::HandshakeFailure => {
                "it wants a client certificate (cert_file and key_file), or has no cipher in common"
            }
            _ => "TLS alert",
        };
        return format!("refused by the broker: {why} ({alert:?})");
    };
    let why = match alert {
        AlertDescription::UnknownCA => "its authority is unknown there",
        AlertDescription::CertificateRevoked => "it is revoked",
        AlertDescription::CertificateExpired => "it has expired, or the broker's clock is wrong",
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRequired
        | AlertDescription::AccessDenied
        | AlertDescription::DecryptError
        | AlertDescription::HandshakeFailure => "it does not do there",
        _ => return format!("refused by the broker: TLS alert ({alert:?})"),
    };
    format!(
        "our certificate {} is refused by the broker: {why} ({alert:?})",
        client.cert_file.display()
    )
}

fn text(time: UnixTime) -> String {
    UNIX_EPOCH.checked_add(Duration::from_secs(time.as_secs())).map_or_else(
        || "an unknown time".to_owned(),
        |time| humantime::format_rfc3339_seconds(time).to_string(),
    )
}
