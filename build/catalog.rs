//! Generates the command table: the facts of the MAVLink XML joined with our own overlay.

#[path = "catalog/merge.rs"]
pub mod merge;
#[path = "catalog/overlay.rs"]
pub mod overlay;
#[path = "catalog/render.rs"]
pub mod render;
#[path = "catalog/xml.rs"]
pub mod xml;

use std::path::Path;

const OVERLAY: &str = "src/catalog/overlay.toml";

/// Writes `catalog.rs`: every MAV_CMD of `development.xml` and of what it includes (`common.xml`).
pub fn generate(definitions: &Path, out_dir: &Path) {
    println!("cargo::rerun-if-changed={OVERLAY}");
    let dialect = xml::read(definitions, "development.xml");
    let text = std::fs::read_to_string(OVERLAY)
        .unwrap_or_else(|error| panic!("failed to read {OVERLAY}: {error}"));
    let overlay =
        overlay::parse(&text).unwrap_or_else(|error| panic!("failed to parse {OVERLAY}: {error}"));
    let commands = merge::merge(&dialect, &overlay).unwrap_or_else(|problems| {
        panic!("{OVERLAY} does not fit the MAVLink XML:\n  {}", problems.join("\n  "))
    });
    let source = render::source(&commands, &dialect.enumerations);
    std::fs::write(out_dir.join("catalog.rs"), source).expect("failed to write catalog.rs");
}
