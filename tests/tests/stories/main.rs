//! Stories: what people do with Wattle, told with real processes. One file each.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a story fails by panicking"
)]

mod backlog;
mod backup;
mod bad_codes;
mod bad_input;
mod blindness;
mod circuits;
mod cli_pipes;
mod closed_relay;
mod command_line;
mod completions;
mod cursors;
mod delivery;
mod direct_only;
mod disappear;
mod dm;
mod doctor;
mod examples;
mod exit_codes;
mod export;
mod files;
mod firewall;
mod history;
mod ipv6;
mod join_and_converse;
mod lan;
mod leave;
mod long_absence;
mod lost_device;
mod lost_founder;
mod lying_relay;
mod moved_group;
mod moved_relay;
mod nat;
mod node_killed;
mod node_kills;
mod notify;
mod offline_catch_up;
mod path_figures;
mod paths;
mod pings;
mod port_map;
mod programs;
mod proxy;
mod relay_killed;
mod relay_only;
mod removed_member;
mod renamed;
mod restarted_relay;
mod restored_backup;
mod said;
mod schema;
mod search;
mod send_file;
mod shelf;
mod terminal;
mod trimmed_inbox;
mod two_admins;
mod typing;
mod upgrade;
mod verify;
mod walk;
mod who_comes_in;
mod wipe;
