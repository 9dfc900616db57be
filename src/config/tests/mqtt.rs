use std::process::Command;

use rcgen::{CertificateParams, KeyPair};

use super::shipped::SHIPPED;
use super::*;

/// `[mqtt]` of a file that is otherwise right.
fn mqtt(text: &str) -> Result<Mqtt, String> {
    let config = load(&[("downlinkd.toml", &with_section("mqtt", text))]);
    config.map(|config| config.mqtt).map_err(|error| error.to_string())
}

fn brokers(url: &str) -> Result<Vec<String>, String> {
    let files = authority();
    let mqtt = mqtt(&format!("url = {url}\nca_file = {:?}", files.path("ca.pem")));
    Ok(mqtt?.brokers.iter().map(ToString::to_string).collect())
}

/// Files for TLS.
struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Of a url with TLS and these files.
    fn load(&self, files: &str) -> Result<Mqtt, String> {
        let dir = self.dir.path().display().to_string();
        mqtt(&format!("url = \"mqtts://x\"\n{}", files.replace("{dir}", &dir)))
    }
}

/// `ca.pem`, and `client.pem` with `client.key`.
fn authority() -> Files {
    let files = Files { dir: tempfile::tempdir().unwrap() };
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["a".to_owned()]).unwrap().self_signed(&key).unwrap();
    files.write("ca.pem", &certificate.pem());
    files.write("client.pem", &certificate.pem());
    files.write("client.key", &key.serialize_pem());
    files
}

#[test]
fn one_or_more_brokers_in_their_order() {
    for (url, expected) in [
        ("\"mqtts://broker.example\"", vec!["mqtts://broker.example:8883"]),
        ("\"mqtts://10.0.0.1:443/\"", vec!["mqtts://10.0.0.1:443"]),
        ("\"mqtts://[fe80::1]\"", vec!["mqtts://[fe80::1]:8883"]),
        ("[\"mqtts://a\", \"mqtts://b:1\"]", vec!["mqtts://a:8883", "mqtts://b:1"]),
        // As the environment has it.
        ("\"mqtts://a, mqtt://b\"", vec!["mqtts://a:8883", "mqtt://b:1883"]),
    ] {
        assert_eq!(brokers(url).unwrap(), expected);
    }
}

#[test]
fn mistakes_in_a_url_say_what_it_must_be() {
    for (url, told) in [
        ("\"wss://x\"", "\"wss\" is not supported; it must be mqtts://HOST[:PORT]"),
        ("\"x:8883\"", "mqtts://HOST[:PORT]"),
        ("\"mqtts://x/topic\"", "\"/topic\" does not belong"),
        ("\"mqtts://x?a=b\"", "\"?a=b\" does not belong"),
        ("\"mqtts://\"", "no host"),
        ("\"mqtts://[10.0.0.1]\"", "not a URL"),
        ("\"mqtts://a%20b\"", "no host"),
        ("\"mqtts://x:0\"", "1 to 65535"),
        ("\"mqtts://x:65536\"", "not a URL"),
        ("\"mqtts://a,\"", "\"\" is not a URL"),
        ("[\"mqtts://a\", \"http://b\"]", "\"http\""),
        ("[]", "is missing"),
        ("7", "a URL, or a list of URLs"),
    ] {
        let message = brokers(url).expect_err(url);
        assert!(message.contains("url") && message.contains(told), "{url}: {message}");
    }
}

#[test]
fn the_session_has_a_name() {
    let client_id = |id: &str| mqtt(&format!("url = \"mqtt://x\"\nclient_id = {id:?}"));
    assert_eq!(client_id("mine").unwrap().client_id, "mine");
    let message = client_id("").unwrap_err();
    assert!(message.contains("[mqtt] client_id: \"\" names no session"), "{message}");
}

#[test]
fn certificates_are_debians_unless_configured_and_none_is_shown() {
    let plain = mqtt("url = \"mqtt://x\"").unwrap();
    assert_eq!(plain.tls.ca_file, Path::new("/etc/ssl/certs/ca-certificates.crt"));
    assert_eq!(plain.tls.client, None);
    assert!(SHIPPED.contains(&format!("# ca_file = {:?}\n", plain.tls.ca_file)));
}

#[test]
fn a_client_certificate_has_an_authority_and_a_key() {
    let files = authority();
    let mqtt = files.load(
        "ca_file = \"{dir}/ca.pem\"\ncert_file = \"{dir}/client.pem\"\nkey_file = \"{dir}/client.key\"",
    );
    let tls = mqtt.unwrap().tls;
    assert_eq!(tls.ca_file, files.path("ca.pem"));
    let client = tls.client.unwrap();
    let shown = (client.cert_file, client.key_file);
    assert_eq!(shown, (files.path("client.pem"), files.path("client.key")));
}

#[test]
fn mistakes_in_files_name_key_and_file() {
    let files = authority();
    files.write("empty.pem", "");
    files.write("damaged.pem", "-----BEGIN CERTIFICATE-----\nMI*\n-----END CERTIFICATE-----\n");
    files.write("nonsense.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    files.write("other.key", &KeyPair::generate().unwrap().serialize_pem());
    let form = "must be PEM with BEGIN CERTIFICATE";
    for (ca, certificate, key, told) in [
        ("none.pem", "client.pem", "client.key", "[mqtt] ca_file: failed to read {dir}/none.pem"),
        ("empty.pem", "client.pem", "client.key", "ca_file: {dir}/empty.pem has no certificate"),
        ("damaged.pem", "client.pem", "client.key", "ca_file: {dir}/damaged.pem is damaged PEM"),
        ("nonsense.pem", "client.pem", "client.key", "no certificate that can be read"),
        ("ca.pem", "none.pem", "client.key", "[mqtt] cert_file: failed to read {dir}/none.pem"),
        ("ca.pem", "client.key", "client.key", form),
        (
            "ca.pem",
            "nonsense.pem",
            "client.key",
            "cert_file: {dir}/nonsense.pem is not a certificate",
        ),
        ("ca.pem", "client.pem", "none.key", "[mqtt] key_file: failed to read {dir}/none.key"),
        ("ca.pem", "client.pem", "client.pem", "key_file: {dir}/client.pem has no private key"),
        (
            "ca.pem",
            "client.pem",
            "other.key",
            "key_file: {dir}/other.key is not the key of the certificate {dir}/client.pem",
        ),
    ] {
        let message = files
            .load(&format!(
                "ca_file = \"{{dir}}/{ca}\"\ncert_file = \"{{dir}}/{certificate}\"\n\
                 key_file = \"{{dir}}/{key}\""
            ))
            .expect_err(told);
        let told = told.replace("{dir}", &files.dir.path().display().to_string());
        assert!(message.contains(&told), "{told}: {message}");
    }
}

#[test]
fn half_a_pair_and_files_without_tls_are_mistakes() {
    let files = authority();
    let ca = "ca_file = \"{dir}/ca.pem\"\n";
    for (half, told) in [
        ("cert_file = \"{dir}/client.pem\"", "[mqtt] key_file: is missing"),
        ("key_file = \"{dir}/client.key\"", "[mqtt] cert_file: is missing"),
    ] {
        let message = files.load(&format!("{ca}{half}")).expect_err(told);
        assert!(message.contains(told), "{message}");
    }
    for key in ["ca_file", "cert_file", "key_file"] {
        let message = mqtt(&format!("url = \"mqtt://x\"\n{key} = \"/a.pem\"")).unwrap_err();
        let told = format!("[mqtt] {key}: /a.pem has no use, since no url is mqtts://");
        assert!(message.contains(&told), "{message}");
    }
}

#[test]
fn keys_are_pkcs_8_pkcs_1_and_sec1_but_not_encrypted_and_of_a_kind_that_is_known() {
    let files = authority();
    let dir = files.dir.path();
    let openssl = |arguments: &str| {
        let mut command = Command::new("openssl");
        let output = command.current_dir(dir).args(arguments.split(' ')).output();
        let output = output.expect("openssl is not installed");
        assert!(output.status.success(), "openssl {arguments}: {output:?}");
    };
    let load = || {
        files.load(
            "ca_file = \"{dir}/ca.pem\"\ncert_file = \"{dir}/c.pem\"\nkey_file = \"{dir}/c.key\"",
        )
    };
    for (algorithm, form, begin) in [
        ("rsa:2048", "", "BEGIN PRIVATE KEY"),
        ("rsa:2048", " -traditional", "BEGIN RSA PRIVATE KEY"),
        ("ec -pkeyopt ec_paramgen_curve:P-256", "", "BEGIN PRIVATE KEY"),
        ("ec -pkeyopt ec_paramgen_curve:P-256", " -traditional", "BEGIN EC PRIVATE KEY"),
        ("ed25519", "", "BEGIN PRIVATE KEY"),
    ] {
        openssl(&format!("req -x509 -newkey {algorithm} -nodes -subj /CN=a -keyout k -out c.pem"));
        openssl(&format!("pkey -in k -out c.key{form}"));
        assert!(fs::read_to_string(files.path("c.key")).unwrap().contains(begin));
        load().expect(begin);
    }
    openssl("pkey -in k -out c.key -aes128 -passout pass:secret");
    let message = load().unwrap_err();
    assert!(message.contains("has no private key; it must be PEM with BEGIN PRIVATE KEY, RSA PRIVATE KEY or EC PRIVATE KEY, and not encrypted"), "{message}");

    openssl(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-521 -nodes -subj /CN=a -keyout c.key -out c.pem",
    );
    let message = load().unwrap_err();
    assert!(message.contains("it must be ECDSA with P-256 or P-384, RSA"), "{message}");
}
