//! Whole nodes without a network: cores in one process, whose effects are passed to one another
//! and to relays in memory.

mod backlog;
mod circuits;
mod crashes;
mod cursors;
mod delivery;
mod direct;
mod due;
mod files;
mod joining;
mod keys;
mod lan;
mod latency;
mod moving;
mod order;
mod outside;
mod pings;
mod refusals;
mod renamed;
mod returns;
mod said;
mod stories;
mod talks;
mod tokens;
mod trims;
mod trust;
mod typing;
mod wipe;
mod withheld;
mod world;

use world::World;
