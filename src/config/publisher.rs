//! What a publisher beside the agent needs of the configuration: where the broker and which vehicle.
//! Who the agent is to the broker is not the publisher's, and none of the agent's secrets is read.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::mqtt::RawMqtt;
use super::seconds::Seconds;
use super::{Error, Mqtt, Raw, RawDevice, read};

/// What replaces the configuration's words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    pub device_id: Option<String>,
    pub url: Option<String>,
    pub prefix: Option<String>,
    pub username: Option<String>,
    pub password_file: Option<PathBuf>,
    pub ca_file: Option<PathBuf>,
    pub cert_file: Option<PathBuf>,
    pub cert_key_file: Option<PathBuf>,
}

/// A vehicle, and the way to it.
#[derive(Debug)]
pub struct Publisher {
    pub device_id: String,
    pub mqtt: Mqtt,
}

/// A publisher notices a dead connection after twice this.
const KEEP_ALIVE: Seconds<5, 3600> = Seconds(5);

impl Publisher {
    /// `path`: the agent's configuration, if it is to be read.
    ///
    /// # Errors
    /// A file that cannot be read, and what is wrong or said nowhere.
    pub fn load(path: Option<&Path>, given: Given) -> Result<Self, Error> {
        let (raw, origin) = match path {
            Some(path) => (read(path)?.0.raw, format!("{} and the command line", path.display())),
            None => (Raw::default(), "the command line".to_owned()),
        };
        let device = RawDevice { id: given.device_id.or(raw.device.id), ..raw.device };
        let mqtt = RawMqtt {
            // Another broker may have another authority, or none.
            ca_file: given.ca_file.or(raw.mqtt.ca_file.filter(|_| given.url.is_none())),
            url: given.url.map_or(raw.mqtt.url, |url| vec![url]),
            cert_file: given.cert_file,
            key_file: given.cert_key_file,
            prefix: given.prefix.unwrap_or(raw.mqtt.prefix),
            username: given.username,
            password_file: given.password_file,
            keep_alive: KEEP_ALIVE,
            ..RawMqtt::default()
        };
        let device_id = device.check().map_err(|mistake| mistake.made_in(origin.clone()))?;
        let mqtt = mqtt.check(&device_id).map_err(|mistake| mistake.made_in(origin))?;
        Ok(Self { device_id, mqtt: Mqtt { session_expiry: Duration::ZERO, ..mqtt } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(dir: &Path, text: &str) -> PathBuf {
        let path = dir.join("downlinkd.toml");
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn the_agents_own_credentials_stay_the_agents() {
        let dir = tempfile::tempdir().unwrap();
        let path = written(
            dir.path(),
            "[device]\nid = \"d\"\n[mqtt]\nurl = \"mqtt://broker:1884\"\nprefix = \"p\"\n\
             username = \"agent\"\npassword_file = \"/nonexistent\"\nclient_id = \"agent\"\n\
             [guard]\n[[guard.issuer]]\nid = \"cloud\"\ncommands = [\"*\"]\n\
             [[guard.issuer.key]]\nkid = \"1\"\nhmac_key_file = \"/nonexistent\"\n",
        );
        let Publisher { device_id, mqtt } = Publisher::load(Some(&path), Given::default()).unwrap();
        assert_eq!((&*device_id, &*mqtt.prefix), ("d", "p"));
        assert_eq!(mqtt.brokers[0].to_string(), "mqtt://broker:1884");
        assert_eq!((mqtt.username, mqtt.password), (None, None));
        assert_ne!(mqtt.client_id, "agent");
        assert_eq!(
            (mqtt.keep_alive, mqtt.session_expiry),
            (Duration::from_secs(5), Duration::ZERO)
        );
    }

    #[test]
    fn what_is_given_comes_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = written(
            dir.path(),
            "[device]\nid = \"d\"\n[mqtt]\nurl = \"mqtts://b\"\nca_file = \"/nonexistent\"\n",
        );
        let password = dir.path().join("password");
        std::fs::write(&password, "secret\n").unwrap();
        let given = Given {
            device_id: Some("e".to_owned()),
            url: Some("mqtt://c".to_owned()),
            prefix: Some("q".to_owned()),
            username: Some("cloud".to_owned()),
            password_file: Some(password),
            ..Given::default()
        };
        for path in [Some(&*path), None] {
            let Publisher { device_id, mqtt } = Publisher::load(path, given.clone()).unwrap();
            assert_eq!((&*device_id, &*mqtt.prefix), ("e", "q"));
            assert_eq!(mqtt.brokers[0].to_string(), "mqtt://c:1883");
            assert_eq!(mqtt.username.as_deref(), Some("cloud"));
            assert_eq!(mqtt.password.as_deref(), Some("secret"));
        }
    }

    #[test]
    fn what_is_said_nowhere_is_named() {
        let error = Publisher::load(None, Given::default()).unwrap_err().to_string();
        assert!(error.contains("[device] id"), "{error}");
        let given = Given { device_id: Some("d".to_owned()), ..Given::default() };
        let error = Publisher::load(None, given).unwrap_err().to_string();
        assert!(error.contains("[mqtt] url"), "{error}");
    }
}
