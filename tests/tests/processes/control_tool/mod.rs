//! `start`, `stop`, `restart`, `reload` and `status` of the control tool, run as from a shell.
//!
//! Each test has a [`Site`](site::Site): a directory with a cluster's configuration, on ports of its own.

mod admin_page;
mod metrics;
mod problems;
mod reload;
mod restart;
mod site;
mod start_and_stop;
mod supervision;
