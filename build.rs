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
    let out_dir = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let definitions = definitions::locate();
    catalog::generate(&definitions, &out_dir);
    crc_extra::generate(&definitions, &out_dir);
}
