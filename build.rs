//! Generates the command table and the CRC_EXTRA table from the MAVLink XML that ships inside the
//! locked `mavlink` crate, so that table and codec can never be of two versions.

#[path = "build/catalog.rs"]
mod catalog;
#[path = "build/crc_extra.rs"]
mod crc_extra;
#[path = "build/definitions.rs"]
mod definitions;

use std::path::PathBuf;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build");
    println!("cargo::rerun-if-changed=Cargo.lock");
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    println!("cargo::rustc-env=DOWNLINKD_BUILD_TIME={}", build_time());
    let out_dir = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let definitions = definitions::locate();
    catalog::generate(&definitions, &out_dir);
    crc_extra::generate(&definitions, &out_dir);
}

/// Seconds since 1970: the floor of the clock, since no running copy can be older than its build.
fn build_time() -> u64 {
    // https://reproducible-builds.org/specs/source-date-epoch/
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(seconds) => seconds.parse().expect("SOURCE_DATE_EPOCH is not a number of seconds"),
        Err(_) => std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("the clock is before 1970")
            .as_secs(),
    }
}
