//! The shapes of what the local API says and is told, as JSON Schema in `docs/schema/`.
//!
//! The types are the source: this compares the files with them. `WATTLE_BLESS=1` writes the files.

use std::{env, fs, path::Path};

use schemars::{JsonSchema, Schema, generate::SchemaSettings};

use super::{conduct, types};

/// What is said: fields that may be left out are those that are not always written.
fn said<T: JsonSchema>() -> Schema {
    SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<T>()
}

/// What is told: fields that may be left out are those that have a default.
fn told<T: JsonSchema>() -> Schema {
    SchemaSettings::draft2020_12().for_deserialize().into_generator().into_root_schema_for::<T>()
}

/// Each file, by its name.
fn files() -> Vec<(&'static str, Schema)> {
    vec![
        ("access", said::<types::AccessView>()),
        ("access-list", said::<types::Accesses>()),
        ("access-granted", said::<types::GrantedAccess>()),
        ("audit-entry", said::<conduct::AuditEntry>()),
        ("audit-page", said::<conduct::AuditPage>()),
        ("audit-report", said::<conduct::AuditReport>()),
        ("conduct", said::<conduct::ConductView>()),
        ("cursor", said::<types::CursorView>()),
        ("cursor-lease", said::<types::CursorLease>()),
        ("cursors", said::<types::Cursors>()),
        ("delivery", said::<types::DeliveryView>()),
        ("done", said::<types::Done>()),
        ("error", said::<types::ErrorBody>()),
        ("event", said::<types::Event>()),
        ("events", said::<types::Events>()),
        ("file", said::<types::FileView>()),
        ("files", said::<types::Files>()),
        ("found", said::<types::Found>()),
        ("group", said::<types::GroupView>()),
        ("group-summary", said::<types::GroupSummary>()),
        ("groups", said::<types::Groups>()),
        ("hit", said::<types::Hit>()),
        ("invite", said::<types::InviteView>()),
        ("invites", said::<types::Invites>()),
        ("join", said::<types::JoinView>()),
        ("joins", said::<types::Joins>()),
        ("machines", said::<types::Machines>()),
        ("member", said::<types::MemberIdentity>()),
        ("message", said::<types::Message>()),
        ("messages", said::<types::Messages>()),
        ("ping", said::<types::PingView>()),
        ("policy", said::<conduct::PolicyView>()),
        ("ready", said::<types::Ready>()),
        ("recovery", said::<types::RecoveryView>()),
        ("removal", said::<types::Removal>()),
        ("renamed", said::<types::Renamed>()),
        ("request", said::<types::RequestView>()),
        ("requests", said::<types::Requests>()),
        ("service", said::<types::ServiceView>()),
        ("setting", said::<types::SettingView>()),
        ("shared-history", said::<conduct::SharedHistory>()),
        ("status", said::<types::Status>()),
        ("talk", said::<types::Talk>()),
        ("talks", said::<types::Talks>()),
        ("typing-told", said::<conduct::TypingTold>()),
        ("verified", said::<types::Verified>()),
        ("wiped", said::<types::Wiped>()),
        ("blocked", said::<types::BlockedMember>()),
        ("blocked-list", said::<types::Blocked>()),
        ("body-block", told::<types::BlockMember>()),
        ("body-talk", told::<types::BeginTalk>()),
        ("body-shelf", told::<types::ShelveGroup>()),
        ("body-access", told::<types::GrantAccess>()),
        ("body-conduct", told::<conduct::SetConduct>()),
        ("body-create-group", told::<types::CreateGroup>()),
        ("body-create-invite", told::<types::CreateInvite>()),
        ("body-cursor", told::<types::SetCursor>()),
        ("body-cursor-events", told::<types::TakeCursor>()),
        ("body-cursor-move", told::<types::MoveCursor>()),
        ("body-edit", told::<types::EditMessage>()),
        ("body-file", told::<types::SendFile>()),
        ("body-follow", told::<types::FollowMove>()),
        ("body-join", told::<types::JoinRequest>()),
        ("body-machine", told::<types::NameMachine>()),
        ("body-migrate", told::<types::MigrateGroup>()),
        ("body-pin", told::<types::PinMessage>()),
        ("body-ping", told::<types::PingMember>()),
        ("body-policy", told::<conduct::SetPolicy>()),
        ("body-react", told::<types::React>()),
        ("body-name", told::<types::Rename>()),
        ("body-remove", told::<types::RemoveMember>()),
        ("body-retire", told::<types::RetireMember>()),
        ("body-send", told::<types::SendMessage>()),
        ("body-share-history", told::<conduct::ShareHistory>()),
        ("body-token", told::<types::GiveToken>()),
        ("body-typing", told::<conduct::TellTyping>()),
        ("body-verify", told::<types::VerifyMember>()),
        ("body-wipe", told::<types::WipeGroup>()),
    ]
}

#[test]
fn the_schemas_in_the_documents_are_those_of_the_types() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schema");
    let mut stale = Vec::new();
    let mut names = Vec::new();
    for (name, schema) in files() {
        let path = folder.join(format!("{name}.json"));
        let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        if env::var_os("WATTLE_BLESS").is_some() {
            fs::create_dir_all(&folder).unwrap();
            fs::write(&path, &text).unwrap();
        }
        if fs::read_to_string(&path).ok().as_deref() != Some(text.as_str()) {
            stale.push(name);
        }
        names.push(format!("{name}.json"));
    }
    assert!(stale.is_empty(), "not as the types have it: {stale:?}: WATTLE_BLESS=1 writes them");
    let all = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().file_name());
    let all = all.filter_map(|name| name.into_string().ok()).filter(|name| name.ends_with(".json"));
    let over: Vec<String> = all.filter(|name| !names.contains(name)).collect();
    assert!(over.is_empty(), "of no type: {over:?}");
}
