//! Commands by hand: a shell script that signs and publishes, with openssl and mosquitto's clients.

use std::net::SocketAddr;

use super::commands::{API_ID, topic};

/// The script, for the folder that `key` lies in.
pub fn script(broker: SocketAddr, key: &str) -> String {
    let (host, port, base) = (broker.ip(), broker.port(), topic(""));
    let base = base.trim_end_matches('/');
    format!(
        "#!/bin/sh\nhost={host}\nport={port}\nbase={base}\napi_id={API_ID}\n\
         key=$(dirname \"$0\")/{key}\n{}",
        include_str!("publish.sh")
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;
    use std::time::SystemTime;

    use super::*;
    use crate::guard::authentication::{Clock, Freshness, Key, Keys};
    use crate::wire::signature::{MQTT, unwrap};

    /// Prints its arguments, one per line.
    const MOSQUITTO_PUB: &str = "#!/bin/sh\nprintf '%s\\n' \"$@\"\n";
    const MOSQUITTO_SUB: &str =
        "#!/bin/sh\necho '{\"online\":true,\"challenge\":\"4f2c\",\"catalog_hash\":\"ab\"}'\n";

    #[test]
    fn the_vehicle_believes_what_the_script_publishes() {
        Command::new("openssl").arg("version").output().expect("openssl is not installed");
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [("mosquitto_pub", MOSQUITTO_PUB), ("mosquitto_sub", MOSQUITTO_SUB)] {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let secret = format!("hex:{}\n", "5a".repeat(32));
        fs::write(dir.path().join("demo.hmac"), &secret).unwrap();
        let file = dir.path().join("publish.sh");
        fs::write(&file, script("127.0.0.1:1883".parse().unwrap(), "demo.hmac")).unwrap();

        let path = std::env::var("PATH").unwrap();
        let body = r#"{"command_type":"nav_roi","payload":{"x":1}}"#;
        let output = Command::new("sh")
            .arg(&file)
            .arg(body)
            .env("PATH", format!("{}:{path}", dir.path().display()))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let printed = String::from_utf8(output.stdout).unwrap();
        let arguments: Vec<&str> = printed.lines().collect();
        let after = |option: &str| {
            let at = arguments.iter().position(|argument| *argument == option).unwrap();
            arguments[at + 1]
        };
        assert_eq!((after("-h"), after("-p")), ("127.0.0.1", "1883"));
        let published = after("-m");
        assert_eq!(published, body);
        let properties: Vec<(String, String)> = arguments
            .windows(3)
            .filter(|window| window[0] == "user-property")
            .map(|window| (window[1].to_owned(), window[2].to_owned()))
            .collect();

        let key = Key::hmac_from_text("1", &secret, None).unwrap();
        let keys = Keys::new([(API_ID.to_owned(), vec![key])].into()).unwrap();
        let request = unwrap(published.as_bytes(), &properties).unwrap();
        let credentials = request.credentials.as_ref();
        for trusted in [true, false] {
            let clock = Clock { wall: SystemTime::now().into(), trusted, challenge: "4f2c" };
            let verdict =
                keys.verify(API_ID, MQTT, after("-t"), &request.body, credentials, &clock);
            assert_eq!(verdict.unwrap().freshness, Freshness::Fresh);
        }
    }
}
