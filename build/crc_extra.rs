//! CRC_EXTRA of every message of `all.xml`: with it a frame of a message that we never decode can
//! still be checked, and so skipped whole.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::path::Path;

use mavlink_bindgen::parser::{extra_crc, parse_profile};

/// Writes `crc_extra.rs`: `(message id, CRC_EXTRA)`, sorted by id.
pub fn generate(definitions: &Path, out_dir: &Path) {
    let profile = parse_profile(definitions, Path::new("all.xml"), &mut HashSet::new())
        .expect("failed to parse all.xml");
    let table: BTreeMap<u32, u8> =
        profile.messages.values().map(|message| (message.id, extra_crc(message))).collect();
    let mut source = format!("pub static CRC_EXTRA: [(u32, u8); {}] = [\n", table.len());
    for (id, crc) in table {
        writeln!(source, "    ({id}, {crc}),").expect("a String can always be written to");
    }
    source.push_str("];\n");
    std::fs::write(out_dir.join("crc_extra.rs"), source).expect("failed to write crc_extra.rs");
}
