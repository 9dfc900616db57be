//! What the catalogue costs: no allocation for a command that is in order, and under 300 KB.
//! How long it takes is measured by `benches/catalog.rs`.

use std::collections::BTreeSet;
use std::fmt::Debug;

use downlinkd::catalog::{self, Command, Entry, Enumeration, Field, System};
use downlinkd::wire::mavlink::{Address, Body, CommandFrame, command};
use serde_json::{Map, Value, json};

const US: Address = Address { system: 1, component: 191 };
const AUTOPILOT: Address = Address { system: 1, component: 1 };

#[test]
fn from_the_parsed_payload_to_the_frame_nothing_allocates() {
    let mut measured = 0;
    for command in catalog::all() {
        for payload in payloads(command) {
            for frame in frames(command) {
                let mut written = 0;
                let allocated = allocation_counter::measure(|| {
                    written = frame_length(command.command_type, &payload, frame);
                });
                assert_eq!(allocated.count_total, 0, "{}: {payload:?}", command.command_type);
                assert!(written >= 12, "{}: {payload:?}", command.command_type);
                measured += 1;
            }
        }
    }
    assert!(measured > 1000, "{measured}");
}

/// Bytes of the frame, all the way from the command's name.
fn frame_length(command_type: &str, payload: &Map<String, Value>, frame: Option<&str>) -> usize {
    let content = match catalog::find(command_type).map(|it| it.encode(payload, frame)) {
        Some(Ok(content)) => content,
        _ => return 0,
    };
    let bytes = |body| {
        let frame =
            CommandFrame { target: AUTOPILOT, command: content.command, confirmation: 0, body };
        command(0, US, &frame).as_slice().len()
    };
    let int = content.int().map(|params| bytes(Body::Int { frame: content.frame, params }));
    bytes(Body::Long(content.long())).min(int.unwrap_or(usize::MAX))
}

/// Nothing said, the example, all unset, and every entry of every enumeration by name.
fn payloads(command: &'static Command) -> Vec<Map<String, Value>> {
    let example = command.example().into_iter().map(|(name, value)| (name.to_owned(), value));
    let unset = command.fields.iter().map(|field| (field.name.to_owned(), Value::Null));
    let mut payloads = vec![Map::new(), example.collect(), unset.collect()];
    for field in command.fields {
        let entries = field.enumeration.map_or(&[][..], |enumeration| enumeration.entries);
        payloads.extend(
            entries
                .iter()
                .map(|entry| Map::from_iter([(field.name.to_owned(), json!(entry.name))])),
        );
    }
    payloads
}

/// None, and one of degrees where the example fits it.
fn frames(command: &'static Command) -> impl Iterator<Item = Option<&'static str>> {
    let global = command.frames().filter(|(_, system)| *system == System::Global).last();
    [None].into_iter().chain(global.map(|(entry, _)| Some(entry.name)))
}

/// The table in the file: its structures, its texts, and in a position-independent executable a
/// relocation for every pointer; what is there twice the linker keeps once.
///
/// Two release builds (x86-64, fat LTO, stripped), one of them with a table of one command, differed
/// by 276 376 bytes of such data, and by 296 768 bytes in all: some code is not needed for one.
#[test]
fn the_table_takes_less_than_300_kb() {
    let mut size = Size::default();
    for command in catalog::all() {
        size.add::<Command>();
        size.texts([
            command.command_type,
            command.mavlink_command,
            command.source_xml,
            command.description,
            command.domain,
        ]);
        if size.list(command.advice) {
            for advice in command.advice {
                size.add::<&str>();
                size.texts([*advice]);
            }
        }
        if size.list(command.fields) {
            for field in command.fields {
                size.field(field);
            }
        }
    }
    let bytes = size.bytes();
    assert!((250_000..300_000).contains(&bytes), "{bytes}");
}

#[derive(Default)]
struct Size {
    structures: usize,
    pointers: usize,
    texts: BTreeSet<&'static str>,
    /// By what is in them.
    lists: BTreeSet<String>,
}

impl Size {
    /// `Elf64_Rela`
    const RELOCATION: usize = 24;

    fn add<T>(&mut self) {
        self.structures += size_of::<T>();
    }

    fn texts<const N: usize>(&mut self, texts: [&'static str; N]) {
        // An empty text points nowhere that could move; nor does an empty list.
        let texts = texts.into_iter().filter(|text| !text.is_empty());
        self.pointers += texts.clone().count();
        self.texts.extend(texts);
    }

    /// Whether this list is there for the first time.
    fn list<T: Debug>(&mut self, list: &[T]) -> bool {
        self.pointers += usize::from(!list.is_empty());
        self.lists.insert(format!("{list:?}"))
    }

    fn field(&mut self, field: &'static Field) {
        self.add::<Field>();
        self.texts([field.name, field.label, field.description]);
        if let Some(units) = field.units {
            self.texts([units]);
        }
        if let Some(enumeration) = field.enumeration {
            self.pointers += 1;
            self.enumeration(enumeration);
        }
    }

    fn enumeration(&mut self, enumeration: &'static Enumeration) {
        if self.list(enumeration.entries) {
            self.add::<Enumeration>();
            self.texts([enumeration.name]);
            for entry in enumeration.entries {
                self.add::<Entry>();
                self.texts([entry.name]);
            }
        }
    }

    fn bytes(&self) -> usize {
        let texts: usize = self.texts.iter().map(|text| text.len()).sum();
        self.structures + texts + self.pointers * Self::RELOCATION
    }
}
