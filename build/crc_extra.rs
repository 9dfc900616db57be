//! CRC_EXTRA of every message of `all.xml`: with it a frame of a message that we never decode can
//! still be checked, and so skipped whole.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use mavlink_bindgen::parser::{extra_crc, parse_profile};

/// Messages whose CRC_EXTRA stands at their id. All that PX4 streams all the time is among them.
const FIRST: u32 = 512;

/// Writes `crc_extra.rs`: `FIRST_CRC_EXTRA` by message id, and `OTHER_CRC_EXTRA`: `(message id, CRC_EXTRA)`,
/// sorted by id.
pub fn generate(definitions: &Path, out_dir: &Path) {
    let profile = parse_profile(definitions, Path::new("all.xml"), &mut HashSet::new())
        .expect("failed to parse all.xml");
    let table: BTreeMap<u32, u8> =
        profile.messages.values().map(|message| (message.id, extra_crc(message))).collect();
    let first: Vec<_> = (0..FIRST).map(|id| table.get(&id)).collect();
    let other: Vec<_> = table.range(FIRST..).collect();
    let source = format!(
        "static FIRST_CRC_EXTRA: [Option<u8>; {}] = {first:?};\n\
         static OTHER_CRC_EXTRA: [(u32, u8); {}] = {other:?};\n",
        first.len(),
        other.len(),
    );
    std::fs::write(out_dir.join("crc_extra.rs"), source).expect("failed to write crc_extra.rs");
}
