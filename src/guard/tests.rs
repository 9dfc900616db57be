//! The layers, in their order.

use serde_json::json;

use super::*;
use crate::catalog;
use crate::guard::explain::Verdict;
use crate::guard::extra_link::LinkId;
use crate::guard::grants::{GrantRequest, Opener, Scope};
use crate::guard::policy::{FieldBounds, Values};
use crate::guard::state::Requirements;
use crate::wire::mavlink::Heartbeat;

const AUTOPILOT: Address = Address { system: 1, component: 1 };
const NOW: Duration = Duration::from_secs(1000);

/// What stands against a command, by layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Layer {
    Issuer,
    Mode,
    Permission,
    Rate,
    CommandType,
    Target,
    Bounds,
    State,
    Grant,
    Transport,
}

use Layer::{Bounds, CommandType, Grant, Issuer, Rate, State, Target, Transport};

const LAYERS: [(Layer, Code); 10] = [
    (Issuer, Code::AuthFailed),
    (Layer::Mode, Code::GuardDisabled),
    (Layer::Permission, Code::AuthNotPermitted),
    (Rate, Code::PolicyRateLimited),
    (CommandType, Code::PolicyCommandDenied),
    (Target, Code::PolicyOutOfBounds),
    (Bounds, Code::PolicyOutOfBounds),
    (State, Code::StatePrecondition),
    (Grant, Code::GrantMissing),
    (Transport, Code::TransportNotReady),
];

/// What the guard says to a command that fails at each of these layers, and what it explains of it.
fn judged(fails: &[Layer]) -> (Result<Clearance, Refusal>, Vec<(explain::Layer, Verdict)>) {
    let fails = |layer| fails.contains(&layer);
    let command = catalog::find("preflight_reboot_shutdown").unwrap();
    let content = command.encode(json!({"autopilot": 2}).as_object().unwrap(), None).unwrap();
    let autopilot = FieldBounds {
        field: command.field("autopilot").unwrap(),
        values: Values::OneOf(vec![if fails(Bounds) { 1.0 } else { 2.0 }]),
        allow_unset: false,
    };
    let rule = Rule {
        target_components: [100].into(),
        fields: vec![autopilot],
        require: Requirements { armed: Some(fails(State)), ..Requirements::default() },
        ..Rule::default()
    };
    let rules = (!fails(CommandType)).then_some((command.command_type, rule));
    let mode = if fails(Layer::Mode) { Mode::Disabled } else { Mode::Guarded };
    let permission = Permission {
        all_commands: !fails(Layer::Permission),
        commands_per_minute: Some(1),
        ..Permission::default()
    };
    let keys = Keys::new(BTreeMap::new()).unwrap();
    let policy = Policy::new(1, Default::default(), rules);
    let limits = Limits::default();
    let mut grants = Grants::new(limits.clone(), 1);
    if !fails(Grant) {
        let request = GrantRequest {
            scopes: vec![Scope::Command(command.command_type)],
            duration: Duration::from_secs(1),
            count: 1,
            issuer: None,
            reason: None,
        };
        grants.open(NOW, Opener::Operator { uid: 1000 }, request).unwrap();
    }
    let guard = Guard::new(mode, [("cloud".to_owned(), permission)].into(), keys, policy, limits);
    let mut rates = Rates::default();
    if fails(Rate) {
        assert!(rates.take("cloud", Some(1), NOW));
    }
    let mut vehicle = Vehicle::new(AUTOPILOT);
    vehicle.opened(LinkId::MAIN);
    vehicle.heartbeat(LinkId::MAIN, &Heartbeat::example(AUTOPILOT, 12), NOW);
    let component = match (fails(Target), fails(Transport)) {
        (true, _) => 101,
        // Allowed, and never heard.
        (false, true) => 100,
        (false, false) => 1,
    };
    let candidate =
        Candidate { api_id: "cloud", command, content: &content, component, timeout_seconds: 30 };
    let explained = guard.explain(candidate, &rates, &vehicle, &grants, NOW);
    if fails(Issuer) {
        let clock = Clock { wall: Default::default(), trusted: true, challenge: "" };
        let body = RequestBody::new(b"{}");
        let refused = guard.authenticate("cloud", "MQTT", "topic", &body, None, &clock);
        return (Err(refused.unwrap_err()), explained);
    }
    (guard.judge(candidate, &mut rates, &vehicle, &grants, NOW), explained)
}

/// The refusal of a command that fails at each of these layers.
fn refusal(fails: &[Layer]) -> Result<Clearance, Refusal> {
    judged(fails).0
}

#[test]
fn the_first_layer_that_refuses_ends_it() {
    assert!(refusal(&[]).is_ok_and(|clearance| clearance.grant.is_some()));
    for (at, (layer, code)) in LAYERS.iter().enumerate() {
        assert_eq!(refusal(&[*layer]).unwrap_err().code, *code, "{layer:?} alone");
        let rest: Vec<Layer> = LAYERS[at..].iter().map(|(layer, _)| *layer).collect();
        let refusal = refusal(&rest).unwrap_err();
        assert_eq!(refusal.code, *code, "{rest:?}");
        let told = match layer {
            Target => "target_component 101",
            Bounds => "payload.autopilot",
            _ => "",
        };
        assert!(refusal.message.contains(told), "{}", refusal.message);
    }
}

#[test]
fn every_layer_is_explained_whatever_the_others_say() {
    use explain::Layer as Asked;
    let all: Vec<Layer> = LAYERS.iter().map(|(layer, _)| *layer).collect();
    for fails in all.iter().map(std::slice::from_ref).chain([&all[..], &[]]) {
        let (judged, explained) = judged(fails);
        let asked: Vec<Asked> = explained.iter().map(|(layer, _)| *layer).collect();
        let (mode, permission, policy) = (Asked::Mode, Asked::Permission, Asked::Policy);
        let (state, grant, transport) = (Asked::State, Asked::Grant, Asked::Transport);
        assert_eq!(asked, [mode, permission, policy, state, grant, transport]);
        let first = explained.iter().find_map(|(_, verdict)| match verdict {
            Verdict::Refuses(refusal) => Some(refusal.clone()),
            Verdict::Passes | Verdict::NotAsked => None,
        });
        if !fails.contains(&Issuer) {
            assert_eq!(first, judged.err(), "{fails:?}");
        }
        let has_no_rule = fails.iter().any(|it| matches!(it, CommandType | Target | Bounds));
        for (layer, verdict) in explained {
            let may_be_asked = !(has_no_rule && matches!(layer, Asked::State | Asked::Grant));
            assert_eq!(verdict != Verdict::NotAsked, may_be_asked, "{layer:?} of {fails:?}");
        }
    }
}

#[test]
fn unknown_state_comes_before_a_link_that_is_not_ready() {
    let command = catalog::find("preflight_reboot_shutdown").unwrap();
    let content = command.encode(&Default::default(), None).unwrap();
    let rule = |armed| Rule {
        grant: Some(false),
        require: Requirements { armed, ..Requirements::default() },
        ..Rule::default()
    };
    let grants = Grants::new(Limits::default(), 1);
    for (armed, code) in [(Some(false), Code::StateUnknown), (None, Code::TransportNotReady)] {
        let policy = Policy::new(1, Default::default(), [(command.command_type, rule(armed))]);
        let guard = Guard::example(Mode::Guarded, policy);
        let mut rates = Rates::default();
        let vehicle = Vehicle::new(AUTOPILOT);
        let candidate = Candidate {
            api_id: "cloud",
            command,
            content: &content,
            component: 1,
            timeout_seconds: 30,
        };
        assert_eq!(
            guard.judge(candidate, &mut rates, &vehicle, &grants, NOW).unwrap_err().code,
            code
        );
        // What waits over a restart is asked for its state when it is its turn.
        assert_eq!(guard.permit(candidate, &grants, None, NOW), Ok(Clearance::default()));
        let later = guard.check_state(command.command_type, &vehicle, NOW);
        assert_eq!(later.is_ok(), armed.is_none());
    }
}
