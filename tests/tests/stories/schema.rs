//! What real programs say as JSON has the shape that `docs/schema/` says.

use std::{collections::BTreeSet, fs, path::Path};

use harness::World;
use serde_json::Value;

/// Commands that read or do something, with the file that says the shape of each of their lines. Ben's are marked.
const COMMANDS: &[(&str, &str, &str)] = &[
    ("ana", "group create notes", "group"),
    ("ana", "group list", "group-summary"),
    ("ana", "group show tea", "group"),
    ("ana", "group promote tea ben", "group"),
    ("ana", "group demote tea ben", "group"),
    ("ana", "group policy tea", "policy"),
    ("ana", "group policy tea --evict-after 30d --history share", "policy"),
    ("ana", "group share-history tea --last 5", "shared-history"),
    ("ana", "group rotate tea", "group"),
    ("ana", "invite tea --uses 2", "invite"),
    ("ana", "invite list tea", "invite"),
    ("ana", "send tea --mention ben --wait all --timeout 3m hello", "message"),
    ("ana", "send tea --reply last again", "message"),
    ("ana", "edit tea last once more", "message"),
    ("ana", "react tea last ack", "message"),
    ("ana", "pin tea last", "message"),
    ("ana", "file send tea plan.pdf", "message"),
    ("ana", "history tea", "message"),
    ("ana", "delivery tea", "delivery"),
    ("ben", "file list tea", "file"),
    ("ben", "file get tea plan.pdf", "file"),
    ("ben", "history tea", "message"),
    ("ana", "delete tea last", "message"),
    ("ana", "status", "status"),
    ("ana", "ping ben --group tea", "ping"),
    ("ana", "verify tea", "verified"),
    ("ana", "verify @ben", "member"),
    ("ana", "verify @ben --mark", "member"),
    ("ana", "cursor set shipper tea --from-start", "cursor"),
    ("ana", "cursor list", "cursor"),
    ("ana", "search hello", "hit"),
    ("ana", "export tea", "message"),
    ("ana", "audit tea", "audit-entry"),
    ("ana", "audit verify tea", "audit-report"),
    ("ana", "audit export tea", "audit-entry"),
    ("ana", "machine list", "machines"),
    ("ana", "recovery", "recovery"),
    ("ana", "group conduct tea --disappear 1w", "conduct"),
    ("ana", "name anna", "renamed"),
    ("ana", "group remove @ben --everywhere", "removal"),
    ("ana", "tail tea --from-start --no-follow", "event"),
];

/// Events that come in this story, whatever else does.
const EVENTS: &[&str] = &[
    "changed",
    "conduct",
    "delivery",
    "group-added",
    "join",
    "member-joined",
    "member-removed",
    "member-renamed",
    "member-verified",
    "message",
];

#[test]
fn each_line_has_the_shape_that_its_schema_says() {
    let world = World::new();
    let relay = world.relay();
    let (ana, ben) = world.pair(&relay);
    fs::write(world.dir().join("plan.pdf"), "the plan").unwrap();
    for (who, args, schema) in COMMANDS {
        let node = if *who == "ana" { &ana } else { &ben };
        let line = format!("cd '{}' && wattle --json {args}", world.dir().display());
        let said = match *args {
            // The offer may still be on its way.
            "file list tea" => {
                ben.hears("tea", "plan.pdf");
                node.shell(&line).ok()
            }
            _ => node.shell(&line).ok(),
        };
        assert!(!said.trim().is_empty(), "{args}: nothing was said");
        for line in said.lines() {
            let value = serde_json::from_str(line).unwrap();
            let faults = fits(&read(schema), &value);
            assert_eq!(faults, Ok(()), "{args}: {line}");
        }
    }
    ben.until("to be removed", |event| {
        matches!(event.what, node::api::types::What::MemberRemoved { me: true, .. }).then_some(())
    });
    let ready = serde_json::to_value(ana.ready()).unwrap();
    assert_eq!(fits(&read("ready"), &ready), Ok(()), "{ready}");
    let schema = read("event");
    let mut kinds = BTreeSet::new();
    for event in ana.events().iter().chain(&ben.events()) {
        let value = serde_json::to_value(event).unwrap();
        assert_eq!(fits(&schema, &value), Ok(()), "{value}");
        kinds.insert(value["event"].as_str().unwrap().to_owned());
    }
    let wiped = ben.cli_until(&["--json", "wipe", "tea"], |said| said.code == Some(0)).ok();
    let wiped = serde_json::from_str(&wiped).unwrap();
    assert_eq!(fits(&read("wiped"), &wiped), Ok(()), "{wiped}");
    let missing: Vec<_> = EVENTS.iter().filter(|kind| !kinds.contains(**kind)).collect();
    assert!(missing.is_empty(), "{missing:?} did not come, of {kinds:?}");
}

#[test]
fn what_has_another_shape_is_told() {
    let schema = read("message");
    let unlike = ["{}", "[]", "7", r#"{"v":"1"}"#];
    for text in unlike {
        assert!(fits(&schema, &serde_json::from_str(text).unwrap()).is_err(), "{text}");
    }
    let event = r#"{"v":1,"seq":1,"at":"now","event":"never-heard-of"}"#;
    assert!(fits(&read("event"), &serde_json::from_str(event).unwrap()).is_err());
}

fn read(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../docs/schema/{name}.json"));
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Whether a value has the shape; where it has not, what is wrong. It knows the words that the project's schemas use, and
/// panics at any other.
fn fits(schema: &Value, value: &Value) -> Result<(), String> {
    part_fits(schema, value, schema)
}

fn part_fits(part: &Value, value: &Value, whole: &Value) -> Result<(), String> {
    let Value::Object(words) = part else {
        return if *part == Value::Bool(false) {
            Err(format!("{value} is not allowed"))
        } else {
            Ok(())
        };
    };
    for (word, says) in words {
        let part_of = |one: &Value| part_fits(one, value, whole);
        let listed = || says.as_array().unwrap().iter();
        let holds = match word.as_str() {
            "$schema" | "$defs" | "title" | "description" | "format" | "default" => true,
            "$ref" => {
                let target = says.as_str().unwrap().trim_start_matches('#');
                part_fits(whole.pointer(target).unwrap(), value, whole)?;
                true
            }
            "type" => match says {
                Value::Array(any) => any.iter().any(|one| is_a(value, one)),
                one => is_a(value, one),
            },
            "const" => value == says,
            "enum" => listed().any(|one| one == value),
            "minimum" => value.as_f64().is_none_or(|number| number >= says.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|number| number <= says.as_f64().unwrap()),
            "oneOf" => listed().filter(|one| part_of(one).is_ok()).count() == 1,
            "anyOf" => listed().any(|one| part_of(one).is_ok()),
            "allOf" => listed().all(|one| part_of(one).is_ok()),
            "required" => listed().all(|name| value.get(name.as_str().unwrap()).is_some()),
            "properties" => {
                for (name, shape) in says.as_object().unwrap() {
                    if let Some(field) = value.get(name) {
                        part_fits(shape, field, whole).map_err(|why| format!("{name}: {why}"))?;
                    }
                }
                true
            }
            "additionalProperties" if *says == Value::Bool(false) => {
                let known = words.get("properties").and_then(Value::as_object);
                let mut names = value.as_object().into_iter().flatten().map(|(name, _)| name);
                names.all(|name| known.is_some_and(|it| it.contains_key(name)))
            }
            "items" => {
                for item in value.as_array().into_iter().flatten() {
                    part_fits(says, item, whole)?;
                }
                true
            }
            other => panic!("a word of JSON Schema that this does not know: {other}"),
        };
        if !holds {
            return Err(format!("{word}: {says} does not hold for {value}"));
        }
    }
    Ok(())
}

fn is_a(value: &Value, kind: &Value) -> bool {
    match kind.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("a type that JSON Schema does not have: {other}"),
    }
}
