//! Accounts for every message while daemons die and links are cut: the program that makes the table of
//! `docs/reliability.md`.
//!
//! A row starts a cluster of real processes, puts a load on it, harms something, and counts what became of each message
//! at both ends:
//!
//! - `ledger`: the books of a run, plain data; what was lost, doubled, out of order, side by side,
//! - `application`, `message`, `journal`: the worker under test, and the pipe in which its records survive its death,
//! - `clients`, `observers`, `joiners`: the load, what the clients know, and what handlers say to clients of others,
//! - `plan`, `cluster`, `site`, `process`, `network`, `relay`, `timing`: daemons, their hosts, and what harms them,
//! - `stage`, `rows`: what is done to a cluster, and what it has promised; `not_yet` has rows that fail today,
//! - `launcher`, `outcome`, `table`: each row in a process of its own, its judgement, and the table,
//! - `self_check`: shows that this program sees what it looks for.
//!
//! It decides nothing for the daemons, and is no part of them.

#![cfg(target_os = "linux")]

pub mod application;
pub mod clients;
pub mod cluster;
pub mod joiners;
pub mod journal;
pub mod launcher;
pub mod ledger;
pub mod message;
pub mod network;
pub mod not_yet;
pub mod observers;
pub mod outcome;
pub mod plan;
pub mod process;
pub mod relay;
pub mod rows;
pub mod self_check;
pub mod site;
pub mod stage;
pub mod table;
pub mod timing;
