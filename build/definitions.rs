//! Finds the MAVLink XML inside the locked `mavlink` crate.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder with `common.xml`, `development.xml` and their includes.
pub fn locate() -> PathBuf {
    let cargo = std::env::var_os("CARGO").expect("cargo sets CARGO");
    let manifest_dir =
        std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let target = std::env::var_os("TARGET").expect("cargo sets TARGET");
    // Not --offline: cargo metadata wants the crates of the tests too, and on a fresh machine a
    // plain build has not downloaded those.
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform"])
        .arg(target)
        .current_dir(manifest_dir)
        .output()
        .expect("failed to run cargo metadata");
    assert!(
        output.status.success(),
        "cargo metadata failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("cargo metadata printed no JSON");
    let manifest = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|package| package["name"] == "mavlink")
        .and_then(|package| package["manifest_path"].as_str())
        .expect("the mavlink crate is not among the locked packages");
    let definitions = Path::new(manifest)
        .parent()
        .expect("a manifest path has a parent")
        .join("mavlink/message_definitions/v1.0");
    assert!(definitions.join("common.xml").is_file(), "no common.xml in {}", definitions.display());
    definitions
}
