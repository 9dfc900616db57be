//! `config/asyncapi.yaml` says what the agent really reads and writes, no more and no less.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use downlinkd::catalog::{self, Risk, Transport};
use downlinkd::code::{Code, Violation};
use downlinkd::guard::Mode;
use downlinkd::guard::grants::{
    Answer, GrantRequest, GrantView, Grants, Limits, Opener, Scope, TwoPerson,
};
use downlinkd::guard::vehicle::LinkState;
use downlinkd::lifecycle::effect::{ErrorReply, Reply};
use downlinkd::lifecycle::record::{Acknowledged, Dispatch, Record};
use downlinkd::lifecycle::request::command_id;
use downlinkd::lifecycle::status::{Cause, Status};
use downlinkd::lifecycle::time::{Now, Stamp, Timestamp};
use downlinkd::wire::grant::{Grant, read_action};
use downlinkd::wire::inbound::{MAX_TIMEOUT_SECONDS, read_query, read_request};
use downlinkd::wire::mavlink::{Address, CommandAck};
use downlinkd::wire::outbound::{self, Presence, PresentClock, PresentExtraLink, PresentLink};
use downlinkd::wire::request_body::RequestBody;
use downlinkd::wire::signature;
use downlinkd::wire::topic::{Kind, Topics, VENDOR};
use serde_json::{Map, Value, json};
use uuid::Uuid;

const DEVICE_ID: &str = "px4-real-1";
const API_ID: &str = "cloud";

fn document() -> Value {
    serde_yaml_ng::from_str(include_str!("../config/asyncapi.yaml")).unwrap()
}

/// What this reference of the document points to.
fn target<'document>(document: &'document Value, reference: &Value) -> &'document Value {
    let reference = reference.as_str().unwrap();
    let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference}"));
    document.pointer(pointer).unwrap_or_else(|| panic!("{reference} points nowhere"))
}

fn resolved<'document>(document: &'document Value, schema: &'document Value) -> &'document Value {
    schema.get("$ref").map_or(schema, |reference| target(document, reference))
}

fn words(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect()
}

#[test]
fn every_reference_points_somewhere() {
    fn check(document: &Value, value: &Value) -> usize {
        let below = match value {
            Value::Object(object) => object.values().map(|it| check(document, it)).sum(),
            Value::Array(list) => list.iter().map(|it| check(document, it)).sum(),
            _ => 0,
        };
        match value.get("$ref") {
            Some(reference) => {
                target(document, reference);
                below + 1
            }
            None => below,
        }
    }
    let document = document();
    assert_eq!(document["asyncapi"], "3.0.0");
    assert!(check(&document, &document) > 30);
}

#[test]
fn the_channels_are_the_agents_topics() {
    let document = document();
    let topics = Topics::new("downlink/v1", DEVICE_ID);
    let id = Uuid::from_u128(7);
    let filled: BTreeMap<&str, String> = document["channels"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, channel)| (name.as_str(), filled(channel, id)))
        .collect();
    let outgoing = [
        ("lifecycle", topics.lifecycle(API_ID, id)),
        ("presence", topics.presence()),
        ("replies", topics.replies(API_ID)),
        ("unmatched", topics.unmatched()),
    ];
    let incoming = ["commands", "queries", "grants"];
    assert_eq!(filled.len(), incoming.len() + outgoing.len());
    for (name, topic) in outgoing {
        assert_eq!(filled[name], topic);
        assert_eq!(topics.parse(&topic), None);
    }
    assert_eq!(topics.parse(&filled["commands"]), Some((Kind::Commands, API_ID)));
    assert_eq!(topics.parse(&filled["queries"]), Some((Kind::Queries, API_ID)));
    assert_eq!(topics.parse(&filled["grants"]), Some((Kind::Grants, API_ID)));
    assert_eq!(topics.subscriptions().len(), incoming.len());

    let received: BTreeSet<&str> = document["operations"]
        .as_object()
        .unwrap()
        .values()
        .filter(|operation| operation["action"] == "receive")
        .map(|operation| operation["channel"]["$ref"].as_str().unwrap().rsplit('/').next().unwrap())
        .collect();
    assert_eq!(received, BTreeSet::from(incoming));
}

/// The channel's address, which has a parameter for every placeholder and no other.
fn filled(channel: &Value, id: Uuid) -> String {
    let id = id.to_string();
    let mut address = channel["address"].as_str().unwrap().to_owned();
    for name in channel["parameters"].as_object().unwrap().keys() {
        let placeholder = format!("{{{name}}}");
        assert!(address.contains(&placeholder), "{address} has no {placeholder}");
        let value = match name.as_str() {
            "device_id" => DEVICE_ID,
            "api_id" => API_ID,
            "command_id" => &id,
            other => panic!("{other} is new"),
        };
        address = address.replace(&placeholder, value);
    }
    assert!(!address.contains('{'), "{address}");
    address
}

#[test]
fn the_vocabularies_are_the_agents() {
    let document = document();
    let schemas = &document["components"]["schemas"];
    let codes: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(words(&schemas["Code"]["enum"]), codes);
    assert_eq!(words(&schemas["Status"]["enum"]), Status::ALL.map(Status::as_str));
    let online = &schemas["Online"]["properties"];
    let modes = [Mode::Disabled, Mode::Guarded].map(Mode::as_str);
    assert_eq!(words(&online["guard_mode"]["enum"]), modes);
    let links = [LinkState::Closed, LinkState::Open, LinkState::Ready].map(LinkState::as_str);
    for link in [&online["link"], &online["links"]["items"]] {
        assert_eq!(words(&link["properties"]["state"]["enum"]), links);
    }
    let transports = [Transport::CommandLong, Transport::CommandInt].map(Transport::as_str);
    let vendor_response = &schemas["VendorResponse"]["properties"];
    assert_eq!(words(&vendor_response["transport"]["enum"]), transports);
}

#[test]
fn the_examples_of_requests_are_accepted() {
    let document = document();
    let examples = |message: &str| -> Vec<Vec<u8>> {
        let examples = document["components"]["messages"][message]["examples"].as_array().unwrap();
        examples.iter().map(|example| serde_json::to_vec(&example["payload"]).unwrap()).collect()
    };
    for body in examples("command") {
        read_request(&RequestBody::new(body), API_ID, DEVICE_ID, None).unwrap();
    }
    for envelope in examples("enveloped") {
        validator(&document, "Envelope").validate(&parsed(&envelope)).unwrap();
        let unwrapped = signature::unwrap(&envelope, &[]).unwrap();
        assert!(unwrapped.credentials.is_some());
        read_request(&unwrapped.body, API_ID, DEVICE_ID, None).unwrap();
    }
    for body in examples("query") {
        read_query(&body, API_ID, DEVICE_ID).unwrap();
    }
    for body in examples("grant") {
        read_action(&RequestBody::new(body)).unwrap();
    }
}

/// A field that the document has and the agent does not would be refused as unknown, and the other
/// way round.
#[test]
fn what_is_received_has_the_documented_fields() {
    let document = document();
    let schemas = &document["components"]["schemas"];
    let named = |schema: &str| -> BTreeSet<String> {
        schemas[schema]["properties"].as_object().unwrap().keys().cloned().collect()
    };
    let refusal =
        read_request(&RequestBody::new(br#"{"x":0}"#), API_ID, DEVICE_ID, None).unwrap_err();
    assert_eq!(fields_of(&refusal), named("Command"));
    let refusal = read_query(br#"{"x":0}"#, API_ID, DEVICE_ID).unwrap_err();
    assert_eq!(fields_of(&refusal), named("Query"));

    for (action, schema) in
        [("open", "GrantOpening"), ("approve", "GrantApproval"), ("revoke", "GrantRevocation")]
    {
        let body = json!({ "action": action, "x": 0 }).to_string();
        let refusal = read_action(&RequestBody::new(body.as_bytes())).unwrap_err();
        assert_eq!(fields_of(&refusal), named(schema));
    }

    let refusal = read_request(&RequestBody::new(b"{}"), API_ID, DEVICE_ID, None).unwrap_err();
    let missing: Vec<_> =
        refusal.violations.iter().filter_map(|violation| violation.field.as_deref()).collect();
    let required = words(&schemas["Command"]["required"]);
    assert_eq!(BTreeSet::from_iter(missing), BTreeSet::from_iter(required));
    let timeout = &schemas["Command"]["properties"]["timeout_seconds"];
    assert_eq!(timeout["maximum"], MAX_TIMEOUT_SECONDS);
}

/// A documented property that the agent does not read would be left alone; one that is required must
/// be missed, and the optional ones too must be read.
#[test]
fn a_signature_has_the_documented_fields_both_ways() {
    let document = document();
    let schemas = &document["components"]["schemas"];
    let auth = &schemas["Envelope"]["properties"]["auth"];
    let fields: BTreeSet<String> =
        auth["properties"].as_object().unwrap().keys().cloned().collect();
    let refusal = signature::unwrap(br#"{"auth":{"x":""},"body":""}"#, &[]).unwrap_err();
    assert_eq!(listed(&refusal.message), fields);

    let values = |name: &str| match name {
        "X-Api-Id" => API_ID.to_owned(),
        "X-Api-Timestamp" => "1781481600".to_owned(),
        "X-Api-Signature" => "5a".repeat(32),
        other => other.to_owned(),
    };
    let headers = schemas["Signature"]["properties"].as_object().unwrap();
    assert_eq!(headers.len(), fields.len());
    let properties: Vec<(String, String)> =
        headers.keys().map(|name| (name.clone(), values(name))).collect();
    let object: Map<String, Value> =
        properties.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    validator(&document, "Signature").validate(&object.into()).unwrap();
    assert!(signature::unwrap(b"{}", &properties).unwrap().credentials.is_some());

    let required = words(&schemas["Signature"]["required"]);
    assert_eq!(required.len(), words(&auth["required"]).len());
    for (at, property) in properties.iter().enumerate() {
        let mut without = properties.clone();
        without.remove(at);
        let is_missed = signature::unwrap(b"{}", &without).is_err();
        assert_eq!(is_missed, required.contains(&&property.0[..]), "{}", property.0);
        let twice = [&properties[..], std::slice::from_ref(property)].concat();
        let refusal = signature::unwrap(b"{}", &twice).unwrap_err();
        assert_eq!(refusal.field.as_deref(), Some(&property.0[..]));
    }
}

/// The fields that the refusal of an unknown one lists.
fn fields_of(refusal: &ErrorReply) -> BTreeSet<String> {
    listed(&refusal.violations[0].message)
}

fn listed(message: &str) -> BTreeSet<String> {
    let (_, list) = message.split_once("the fields are ").unwrap_or_else(|| panic!("{message}"));
    list.split(", ").map(str::to_owned).collect()
}

#[test]
fn what_is_sent_is_what_is_documented() {
    let document = document();
    let sent = sent();
    let messages = document["components"]["messages"].as_object().unwrap();
    let incoming = ["command", "enveloped", "query", "grant"];
    let outgoing = messages.keys().map(String::as_str).filter(|name| !incoming.contains(name));
    assert_eq!(BTreeSet::from_iter(outgoing), sent.keys().copied().collect::<BTreeSet<_>>());

    for (message, values) in &sent {
        let reference = &messages[*message]["payload"];
        let (_, schema) = reference["$ref"].as_str().unwrap().rsplit_once('/').unwrap();
        let validator = validator(&document, schema);
        for value in values {
            if let Err(error) = validator.validate(value) {
                panic!("{message}: {error} at {}: {value}", error.instance_path());
            }
        }
        let values: Vec<&Value> = values.iter().collect();
        check_shape(&document, resolved(&document, reference), &values, message);
    }
}

fn validator(document: &Value, schema: &str) -> jsonschema::Validator {
    let reference = format!("#/components/schemas/{schema}");
    let schema = json!({ "$ref": reference, "components": document["components"] });
    jsonschema::draft7::options().should_validate_formats(true).build(&schema).unwrap()
}

/// Every documented property and type is seen, what is required is always there, and nothing is
/// allowed beside it.
fn check_shape(document: &Value, schema: &Value, values: &[&Value], path: &str) {
    let seen: BTreeSet<&str> = values.iter().map(|value| kind(value)).collect();
    assert_eq!(types(document, schema), seen, "{path}");
    let objects: Vec<&Map<String, Value>> =
        values.iter().filter_map(|value| value.as_object()).collect();
    if let Some(properties) = schema.get("properties") {
        assert_eq!(schema["additionalProperties"], false, "{path}");
        let properties = properties.as_object().unwrap();
        let required: BTreeSet<&str> =
            schema.get("required").map_or_else(Vec::new, words).into_iter().collect();
        let always: BTreeSet<&str> = properties
            .keys()
            .map(String::as_str)
            .filter(|name| objects.iter().all(|object| object.contains_key(*name)))
            .collect();
        assert_eq!(required, always, "{path}");
        for (name, property) in properties {
            let values: Vec<&Value> = objects.iter().filter_map(|it| it.get(name)).collect();
            check_shape(document, resolved(document, property), &values, &format!("{path}.{name}"));
        }
    }
    if let Some(items) = schema.get("items") {
        let lists = values.iter().filter_map(|value| value.as_array());
        let values: Vec<&Value> = lists.flatten().collect();
        check_shape(document, resolved(document, items), &values, &format!("{path}[]"));
    }
}

fn types<'document>(
    document: &'document Value,
    schema: &'document Value,
) -> BTreeSet<&'document str> {
    match (&schema["type"], &schema["oneOf"]) {
        (Value::String(name), _) => BTreeSet::from([name.as_str()]),
        (names @ Value::Array(_), _) => words(names).into_iter().collect(),
        (_, Value::Array(forms)) => {
            forms.iter().flat_map(|form| types(document, resolved(document, form))).collect()
        }
        _ => panic!("no type in {schema}"),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Real messages of the agent in all their forms, by the document's names.
fn sent() -> BTreeMap<&'static str, Vec<Value>> {
    let records = records();
    let replies = |replies: Vec<Reply>| -> Vec<Value> {
        replies.iter().map(|reply| parsed(&outbound::reply(DEVICE_ID, reply))).collect()
    };
    let created = [false, true].map(|duplicate| {
        let record = Arc::new(records[0].clone());
        Reply::Created { record, duplicate }
    });
    let found = |record: &Record| {
        let ids = [None, Some("17".to_owned())];
        ids.map(|request_id| Reply::Found { record: Box::new(record.clone()), request_id })
    };
    // A lifecycle update is a query reply whose query had no request_id.
    let updates = records.iter().map(|record| parsed(&outbound::update(DEVICE_ID, record)));
    let found = replies(records.iter().flat_map(found).collect());
    BTreeMap::from([
        ("created", replies(created.into())),
        ("found", found.iter().cloned().chain(updates.clone()).collect()),
        ("update", updates.chain(found).collect()),
        ("granted", replies(granted())),
        ("revoked", replies(revoked())),
        ("refused", replies(refusals().into_iter().map(Reply::Error).collect())),
        ("online", presences()),
        ("offline", vec![parsed(&outbound::absence(Uuid::from_u128(9), DEVICE_ID))]),
        ("unmatched", unmatched()),
    ])
}

fn parsed(json: &[u8]) -> Value {
    serde_json::from_slice(json).unwrap()
}

fn ack(command: u16, result: u8, progress: u8) -> CommandAck {
    CommandAck {
        source: Address { system: 1, component: 1 },
        command,
        result,
        progress,
        result_param2: -3,
        target_system: 1,
        target_component: 191,
    }
}

/// Records with everything that can be there and not there.
fn records() -> Vec<Record> {
    let mut records = Vec::new();
    for status in Status::ALL {
        for command_type in ["nav_roi", "nav_return_to_launch"] {
            let command = catalog::find(command_type).unwrap();
            let fresh = record(command_type, command.encode(&Map::new(), None).unwrap(), status);
            let mut sent = fresh.clone();
            let at = Timestamp::from_secs(1_800_000_001);
            sent.dispatch = Some(Dispatch {
                transport: Transport::CommandLong,
                delivered_seq: 2,
                at: stamp(),
                sent_at: Some(at),
                other_form: false,
            });
            let mut perhaps = sent.clone();
            perhaps.dispatch.as_mut().unwrap().sent_at = None;
            let acknowledged = [(0, 0), (5, 40), (5, 255), (77, 0)].map(|(result, progress)| {
                let mut record = sent.clone();
                let ack = ack(record.content.command, result, progress);
                record.ack = Some(Acknowledged { ack, at });
                record.cause = Some(Cause::Result(result));
                record.message = Some("what happened".to_owned());
                record
            });
            let by_agent = Code::ALL.iter().map(|&code| {
                let mut record = fresh.clone();
                record.cause = Some(code.into());
                record
            });
            records.extend(by_agent);
            records.extend(acknowledged);
            records.extend([fresh, sent, perhaps]);
        }
    }
    // Journaled by an agent that knew another command.
    let mut unknown = records[0].clone();
    unknown.content.command = u16::MAX;
    records.push(unknown);
    records
}

fn record(command_type: &str, content: catalog::Encoded, status: Status) -> Record {
    Record {
        command_id: command_id(DEVICE_ID, API_ID, "key"),
        number: 1,
        api_id: API_ID.to_owned(),
        idempotency_key: "key".to_owned(),
        request_sha256: String::new(),
        nonce: None,
        nonce_expires: None,
        command_type: command_type.to_owned(),
        content,
        target: Address { system: 1, component: 1 },
        timeout_seconds: 30,
        accepted: stamp(),
        deadline_ms: 30_000,
        status,
        seq: 1,
        updated: stamp(),
        cause: None,
        message: None,
        dispatch: None,
        ack: None,
        stray: None,
        closed: false,
    }
}

fn stamp() -> Stamp {
    Stamp::of(&Now {
        boot: Duration::from_secs(60),
        boot_id: Uuid::from_u128(1),
        wall: Timestamp::from_secs(1_800_000_000),
        wall_trusted: true,
    })
}

fn refusals() -> Vec<ErrorReply> {
    // Two violations, one of them of the message's field; a message as a whole; a conflict.
    let several = br#"{"vendor":"px4","device_id":"px4-real-1","command_type":"x","colour":1}"#;
    let several = read_request(&RequestBody::new(several), API_ID, DEVICE_ID, None).unwrap_err();
    let mut with_a_whole = several.clone();
    with_a_whole.violations.push(Violation::whole(Code::RequestInvalid, "all of it"));
    let whole = read_request(&RequestBody::new(b"[]"), API_ID, DEVICE_ID, None).unwrap_err();
    let query = read_query(br#"{"request_id":"17"}"#, API_ID, DEVICE_ID).unwrap_err();
    let mut refusals: Vec<ErrorReply> = Code::ALL
        .iter()
        .map(|&code| ErrorReply {
            violations: vec![Violation::new(code, "payload", "what would be right")],
            idempotency_key: Some("key".to_owned()),
            command_id: Some(Uuid::from_u128(3)),
            request_id: None,
            request_sha256: whole.request_sha256.clone(),
        })
        .collect();
    refusals.extend([several, with_a_whole, whole, query]);
    refusals
}

/// Grants with everything that can be there and not there.
fn grants() -> Vec<GrantView> {
    let two_person = TwoPerson { risks: [Risk::Critical].into(), ..TwoPerson::default() };
    let mut grants = Grants::new(Limits { two_person, ..Limits::default() }, 0x7f3a_9c21);
    let now = Duration::from_secs(60);
    let request = |scope, issuer: Option<&str>| GrantRequest {
        scopes: vec![scope, Scope::Command("nav_land"), Scope::Domain("gimbal".to_owned())],
        duration: Duration::from_secs(600),
        count: 5,
        issuer: issuer.map(str::to_owned),
        reason: issuer.map(|_| "survey".to_owned()),
    };
    let operator = Opener::Operator { uid: 1000 };
    let ops = Opener::Issuer("ops".to_owned());
    let critical = request(Scope::Risk(Risk::Critical), Some(API_ID));
    let approved = grants.open(now, ops.clone(), critical.clone()).unwrap().id;
    grants.open(now, ops.clone(), critical.clone()).unwrap();
    grants.open(now, ops.clone(), request(Scope::Risk(Risk::Flight), None)).unwrap();
    grants.approve(now, operator.clone(), approved).unwrap();
    let by_operator = grants.open(now, operator, critical).unwrap().id;
    grants.approve(now, ops, by_operator).unwrap();
    grants.views(now)
}

fn granted() -> Vec<Reply> {
    let answers = grants().into_iter().map(Answer::Grant);
    answers
        .zip([None, Some("17".to_owned())].into_iter().cycle())
        .map(|(answer, request_id)| Reply::Grant { answer, request_id })
        .collect()
}

fn revoked() -> Vec<Reply> {
    let ids = grants().iter().map(|grant| grant.id).collect();
    let all = Reply::Grant { answer: Answer::Revoked(ids), request_id: None };
    let none =
        Reply::Grant { answer: Answer::Revoked(Vec::new()), request_id: Some("17".to_owned()) };
    vec![all, none]
}

fn presences() -> Vec<Value> {
    let links = [LinkState::Closed, LinkState::Open, LinkState::Ready].map(LinkState::as_str);
    let modes = [Mode::Disabled, Mode::Guarded].map(Mode::as_str);
    let clock = PresentClock { trusted: true, time: Timestamp::from_secs(1_800_000_000) };
    let forms = links.into_iter().flat_map(|state| modes.map(|mode| (state, mode)));
    forms
        .map(|(state, guard_mode)| {
            let extra_link = PresentExtraLink {
                name: "camera",
                state,
                endpoint: "udpin:0.0.0.0:14540".to_owned(),
            };
            let presence = Presence {
                online: true,
                session: Uuid::from_u128(9),
                vendor: VENDOR,
                device_id: DEVICE_ID,
                version: "0.1.0",
                guard_mode,
                link: PresentLink { state, endpoint: "serial:/dev/ttyAMA0:921600" },
                // Absent where there is none.
                links: (guard_mode == "guarded").then_some(extra_link).into_iter().collect(),
                broker: "mqtts://broker.example:8883",
                clock: clock.clone(),
                challenge: "0123456789abcdef",
                grants: grants().iter().map(Grant::of).collect(),
                catalog_hash: catalog::HASH,
            };
            parsed(&presence.json())
        })
        .collect()
}

fn unmatched() -> Vec<Value> {
    let acks = [ack(80, 0, 0), ack(u16::MAX, 200, 255)];
    acks.iter().map(|ack| parsed(&outbound::unmatched(DEVICE_ID, ack, Timestamp::MAX))).collect()
}
