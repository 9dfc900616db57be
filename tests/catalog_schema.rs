//! `downlinkd catalog --schema` allows what the agent accepts, and nothing else.

use std::process::Command;
use std::sync::LazyLock;

use downlinkd::catalog::{self, Field};
use downlinkd::wire::inbound::read_request;
use downlinkd::wire::request_body::RequestBody;
use jsonschema::Validator;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

const REQUIRED: [&str; 5] = ["vendor", "device_id", "command_type", "payload", "idempotency_key"];

/// For requests of any command.
static ANY: LazyLock<Validator> = LazyLock::new(|| validator(&schema(&[])));

fn schema(arguments: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_downlinkd"));
    let output = command.args(["catalog", "--schema"]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn validator(schema: &Value) -> Validator {
    jsonschema::draft202012::meta::validate(schema).unwrap();
    jsonschema::draft202012::new(schema).unwrap()
}

fn accepted(request: &Value) -> bool {
    let body = serde_json::to_vec(request).unwrap();
    read_request(&RequestBody::new(body), "cloud", "px4-real-1", None).is_ok()
}

/// A request of this command with this payload.
fn request(command: &catalog::Command, payload: Value) -> Value {
    json!({
        "vendor": "px4",
        "device_id": "px4-real-1",
        "command_type": command.command_type,
        "payload": payload,
        "idempotency_key": "key",
    })
}

fn with(mut request: Value, field: &str, value: Value) -> Value {
    request[field] = value;
    request
}

/// What the interface documents as wrong, in a request of this command that is right otherwise.
fn violations(command: &'static catalog::Command) -> Vec<Value> {
    let right = request(command, json!({}));
    let mut wrong = vec![
        with(right.clone(), "vendor", json!("dji")),
        with(right.clone(), "command_type", json!("no_such_command")),
        with(right.clone(), "unknown", json!(1)),
        with(right.clone(), "payload", json!([])),
        with(right.clone(), "idempotency_key", json!("")),
        with(right.clone(), "idempotency_key", json!("a\nb")),
        with(right.clone(), "idempotency_key", json!("end\n")),
        with(right.clone(), "idempotency_key", json!("x".repeat(201))),
        with(right.clone(), "timeout_seconds", json!(301)),
        with(right.clone(), "timeout_seconds", json!(-1)),
        with(right.clone(), "timeout_seconds", json!(0.5)),
        with(right.clone(), "timeout_seconds", json!("30")),
        with(right.clone(), "target_component", json!(256)),
        with(right.clone(), "frame", json!("MAV_FRAME_MISSION")),
        with(right.clone(), "frame", json!(0)),
        request(command, json!({ "no_such_field": 0 })),
        request(command, json!({ "param1": 0 })),
    ];
    for name in REQUIRED {
        let mut missing = right.clone();
        missing.as_object_mut().unwrap().remove(name);
        wrong.push(missing);
    }
    if !command.has_location {
        wrong.push(with(right.clone(), "frame", json!("MAV_FRAME_GLOBAL")));
    }
    let fields = command.fields.iter();
    let values =
        fields.flat_map(|field| wrong_values(field).into_iter().map(move |it| (field, it)));
    wrong.extend(values.map(|(field, value)| request(command, json!({ field.name: value }))));
    wrong
}

fn wrong_values(field: &Field) -> Vec<Value> {
    let mut wrong = vec![json!([0]), json!({}), json!("no such entry"), json!("0"), json!(1e39)];
    match field.enumeration {
        Some(enumeration) => {
            wrong.extend([json!(0.5), json!(-1), json!(u32::MAX)]);
            let known = enumeration.entries.iter().fold(0, |known, entry| known | entry.value);
            wrong.push(json!(known + 1));
            if enumeration.name != "MAV_BOOL" {
                wrong.push(json!(true));
            }
        }
        None => {
            wrong.push(json!(false));
            wrong.extend(field.minimum.map(|minimum| json!(f64::from(minimum) - 1.0)));
            wrong.extend(field.maximum.map(|maximum| json!(f64::from(maximum) + 1.0)));
            wrong.extend(field.increment.map(|_| json!(0.25)));
            let is_place = field.param == 5 || field.param == 6;
            if !is_place {
                wrong.extend([json!(16_777_217), json!(33_554_435), json!(u64::MAX)]);
            }
        }
    }
    wrong
}

#[test]
fn every_example_is_valid_and_every_documented_violation_is_not() {
    for command in catalog::all() {
        let schema = schema(&[command.command_type]);
        let one = validator(&schema);
        let examples = schema["examples"].as_array().unwrap();
        assert_eq!(examples.len(), 1);
        for example in examples {
            assert!(
                accepted(example) && one.is_valid(example) && ANY.is_valid(example),
                "{example}"
            );
        }
        for wrong in violations(command) {
            assert!(!accepted(&wrong), "{wrong}");
            assert!(!one.is_valid(&wrong), "{wrong}");
            assert!(!ANY.is_valid(&wrong), "{wrong}");
        }
    }
}

#[test]
fn every_entry_of_every_enumeration_is_valid_by_name_and_by_number() {
    for command in catalog::all() {
        for field in command.fields {
            let entries = field.enumeration.map_or(&[][..], |enumeration| enumeration.entries);
            for entry in entries {
                for value in [json!(entry.name), json!(entry.value)] {
                    let request = request(command, json!({ field.name: value }));
                    assert!(accepted(&request) && ANY.is_valid(&request), "{request}");
                }
            }
        }
    }
}

#[test]
fn the_whole_schema_has_every_command_and_its_advice() {
    let schema = schema(&[]);
    let listed = schema["properties"]["command_type"]["enum"].as_array().unwrap();
    assert_eq!(listed.len(), catalog::all().len());
    for command in catalog::all() {
        let definition = &schema["$defs"][command.command_type];
        let description = definition["description"].as_str().unwrap();
        for advice in command.advice {
            assert!(description.contains(advice), "{}", command.command_type);
        }
        assert_eq!(
            definition["properties"]["payload"]["properties"].as_object().unwrap().len(),
            command.fields.len()
        );
    }
}

#[test]
fn a_default_in_the_schema_is_what_leaving_out_means() {
    for command in catalog::all() {
        for field in command.fields {
            let schema = schema_of(command, field);
            if let Some(default) = schema.get("default") {
                let said = json!({ field.name: default });
                let encode = |payload: &Value| command.encode(payload.as_object().unwrap(), None);
                let [said, left_out] = [&said, &json!({})].map(|it| encode(it).unwrap());
                assert_eq!(said, left_out, "{}.{}", command.command_type, field.name);
            }
        }
    }
}

fn schema_of(command: &catalog::Command, field: &Field) -> Value {
    command.payload_schema()["properties"][field.name].clone()
}

/// Any value, and often one that means something to this field.
fn value(field: &'static Field) -> impl Strategy<Value = Value> {
    let mut special = vec![Value::Null, json!(true), json!("x"), json!([]), json!(0), json!(1)];
    if let Some(enumeration) = field.enumeration {
        for entry in enumeration.entries {
            special.extend([json!(entry.name), json!(entry.value), json!(f64::from(entry.value))]);
            special.push(json!(format!("{} | {}", entry.name, enumeration.entries[0].name)));
        }
    }
    for limit in field.minimum.into_iter().chain(field.maximum).map(f64::from) {
        special
            .extend([limit - 1.0, limit - 0.5, limit, limit + 0.5, limit + 1.0].map(Value::from));
    }
    prop_oneof![
        4 => select(special),
        1 => (-200_i64..200).prop_map(Value::from),
        1 => (-300_000.0..300_000.0).prop_map(Value::from),
        // Up to where the schema can tell what a float holds.
        1 => (-(1_i64 << 32)..1 << 32).prop_map(Value::from),
        1 => (0_u32..9).prop_flat_map(|power| {
            ((1_i64 << 23)..(1 << 24)).prop_map(move |whole| Value::from(whole << power))
        }),
    ]
}

fn frame() -> impl Strategy<Value = Option<Value>> {
    let frames = select(vec![
        "MAV_FRAME_GLOBAL",
        "MAV_FRAME_GLOBAL_TERRAIN_ALT",
        "MAV_FRAME_LOCAL_NED",
        "MAV_FRAME_BODY_FRD",
        "MAV_FRAME_MISSION",
    ]);
    prop::option::weighted(0.3, frames.prop_map(Value::from))
}

fn payload(
    command: &'static catalog::Command,
) -> impl Strategy<Value = Vec<(&'static str, Value)>> {
    // Few fields at a time: a single wrong one would hide what the others show.
    let fields = command.fields.iter().map(|field| (field.name, value(field)));
    let fields: Vec<_> = fields.map(|(name, value)| (Just(name), value)).collect();
    let count = fields.len();
    (fields, prop::collection::vec(prop::bool::weighted(0.3), count)).prop_map(|(fields, said)| {
        let fields = std::iter::zip(fields, said).filter(|(_, said)| *said);
        fields.map(|(field, _)| field).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(10_000) })]

    #[test]
    fn agent_and_schema_agree_on_random_requests(
        (command, fields, frame) in select(catalog::all().iter().collect::<Vec<_>>())
            .prop_flat_map(|command| (Just(command), payload(command), frame())),
    ) {
        let mut request = request(command, fields.into_iter().collect());
        if let Some(frame) = frame {
            request["frame"] = frame;
        }
        prop_assert_eq!(accepted(&request), ANY.is_valid(&request), "{}", request);
    }
}
