//! The table's generator: an overlay that does not fit the XML stops the build, by name.

#[allow(dead_code, reason = "the build script's entry point is not a test's")]
#[path = "../build/catalog.rs"]
mod catalog;

use catalog::merge::{Command, Location, field_name, merge};
use catalog::{overlay, xml};

const XML: &str = r#"<mavlink>
  <include>base.xml</include>
  <enums>
    <enum name="MAV_CMD">
      <entry value="10" name="MAV_CMD_FLY" hasLocation="true">
        <wip/>
        <description>Fly
          there.</description>
        <param index="1" label="Speed (max)" units="m/s" minValue="0">NaN for the vehicle's own.</param>
        <param index="2" reserved="true" default="NaN"/>
        <param index="5" label="Latitude">Latitude</param>
        <param index="6" label="Longitude">Longitude</param>
      </entry>
      <entry value="11" name="MAV_CMD_LOOK" missionOnly="true">
        <param index="1" label="Mode" enum="LOOK" default="1">Mode</param>
        <param index="2">Distance to look at</param>
        <param index="3">Empty.</param>
      </entry>
    </enum>
    <enum name="LOOK"><entry value="0x10" name="LOOK_UP"/></enum>
  </enums>
</mavlink>"#;

const BASE: &str = r#"<mavlink>
  <enums><enum name="LOOK" bitmask="true"><entry value="1" name="LOOK_DOWN"/></enum></enums>
</mavlink>"#;

const OVERLAY: &str = r#"
[advice]
far = "Far away."
[commands.flight]
fly = { risk = "flight", repeatable = false, see = ["far"] }
look = { risk = "query", repeatable = true, names = { 2 = "distance" }, advice = ["Look."] }
"#;

fn dialect() -> xml::Dialect {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("main.xml"), XML).unwrap();
    std::fs::write(folder.path().join("base.xml"), BASE).unwrap();
    xml::read(folder.path(), "main.xml")
}

fn merged(overlay: &str) -> Result<Vec<Command>, Vec<String>> {
    merge(&dialect(), &overlay::parse(overlay).unwrap())
}

/// What is wrong once `from` in the overlay has become `to`.
fn problems(from: &str, to: &str) -> Vec<String> {
    assert!(OVERLAY.contains(from));
    merged(&OVERLAY.replace(from, to)).err().unwrap_or_default()
}

#[test]
fn the_xml_and_the_overlay_become_one() {
    let commands = merged(OVERLAY).unwrap();
    let [fly, look] = &commands[..] else { panic!("{} commands", commands.len()) };
    assert_eq!((fly.command_type.as_str(), fly.mavlink_command.as_str()), ("fly", "MAV_CMD_FLY"));
    assert_eq!((fly.id, fly.source.as_str(), fly.domain.as_str()), (10, "main.xml", "flight"));
    assert_eq!((fly.status, fly.location), (xml::Status::Wip, Location::Geographic));
    assert_eq!(fly.description, "Fly there.");
    assert_eq!(fly.advice, ["Far away."]);
    assert_eq!(fly.defaults, [None, None, Some(0.0), Some(0.0), None, None, Some(0.0)]);
    let names: Vec<_> = fly.fields.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(names, ["speed_max", "latitude", "longitude"]);
    assert_eq!(fly.fields[1].minimum, Some(-90.0));
    assert_eq!(fly.fields[2].units.as_deref(), Some("deg"));

    assert!(look.mission_only && !look.has_location());
    assert_eq!(look.defaults[..2], [Some(1.0), Some(0.0)]);
    assert_eq!(look.fields[1].name, "distance");
    assert_eq!(look.fields.len(), 2);
}

#[test]
fn enumerations_are_merged_across_files() {
    let look = &dialect().enumerations["LOOK"];
    assert!(look.bitmask);
    assert_eq!(look.entries, [("LOOK_DOWN".to_owned(), 1), ("LOOK_UP".to_owned(), 16)]);
}

#[test]
fn a_command_without_an_entry_is_named() {
    assert_eq!(
        problems("\nfly =", "\nswim ="),
        ["fly (MAV_CMD_FLY) has no entry", "swim is not a command of the XML"]
    );
}

#[test]
fn what_does_not_fit_a_command_is_named() {
    for (from, to, problem) in [
        ("{ 2 = \"distance\" }", "{}", "look: param 2 means something and has no name"),
        ("\"distance\" }", "\"mode\" }", "look: \"mode\" cannot name param 2"),
        ("\"distance\" }", "\"param3\" }", "look: \"param3\" cannot name param 2"),
        ("\"distance\" }", "\"distance\", 1 = \"x\" }", "look: param 1 needs no name of ours"),
        ("\"distance\" }", "\"distance\", 3 = \"x\" }", "look: param 3 needs no name of ours"),
        ("\"distance\" }", "\"distance\", 7 = \"x\" }", "look: has no param 7"),
        ("repeatable = true", "repeatable = true, unset = [9]", "look: has no param 9"),
        (
            "repeatable = true",
            "repeatable = true, local = true",
            "look: has no location that could be local",
        ),
        (
            "repeatable = false",
            "repeatable = false, limits = { 1 = [0, 1] }",
            "fly: param 1 has limits in the XML",
        ),
        ("\"far\"", "\"far\", \"near\"", "fly: sees advice \"near\", which does not exist"),
        ("see = [\"far\"]", "see = []", "no command sees advice \"far\""),
        (
            "[commands.flight]",
            "[commands.other]\nlook = { risk = \"query\", repeatable = true }\n[commands.flight]",
            "look has two entries",
        ),
    ] {
        let problems = problems(from, to);
        assert!(problems.iter().any(|found| found == problem), "{problem}: {problems:?}");
    }
}

#[test]
fn unknown_keys_and_risks_are_errors() {
    for (from, to, what) in [
        ("repeatable = true", "repeateable = true", "repeateable"),
        ("\"query\"", "\"harmless\"", "harmless"),
    ] {
        let error = overlay::parse(&OVERLAY.replace(from, to)).err().unwrap().to_string();
        assert!(error.contains(what), "{error}");
    }
}

#[test]
fn labels_become_names() {
    for (label, name) in [
        ("Target Camera ID", "target_camera_id"),
        ("Latitude/X", "latitude_x"),
        ("Horiz. Move Limit", "horiz_move_limit"),
        ("4th Dimension", "4th_dimension"),
        ("(odd) ", "odd"),
    ] {
        assert_eq!(field_name(label), name);
    }
}
