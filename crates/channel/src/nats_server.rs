//! A connection to NATS by its URL, for the channel and for the history of groups (`gatewayworker_history`).

use std::sync::{Mutex, PoisonError};

use async_nats::{ConnectOptions, Event, ServerAddr};
use gatewayworker_net::LogLimiter;
use percent_encoding::percent_decode_str;
use tokio::sync::watch;
use tracing::{info, warn};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Returns the server that `url` names, without the login in it, and options that log in and connect again for ever. `state` says
/// whether it is connected; the log calls the user of the connection `who`.
///
/// # Errors
/// When the URL cannot be read.
pub fn options(
    url: &str,
    who: &'static str,
    state: watch::Sender<bool>,
) -> Result<(ServerAddr, ConnectOptions), BoxError> {
    let (address, options) = login(url.parse()?)?;
    let (refusals, logged) = (LogLimiter::default(), Mutex::new(String::new()));
    let options = options.name("gatewayworker").retry_on_initial_connect();
    // It is asked before each attempt which server to take. It leaves that to async-nats, and learns why the last attempt has failed.
    let options = options.reconnect_to_server_callback(move |servers, _| {
        let why = servers.into_iter().find_map(|server| server.last_error).unwrap_or_default();
        let mut logged = logged.lock().unwrap_or_else(PoisonError::into_inner);
        if *logged != why && !why.is_empty() {
            warn!(%why, "the {who} cannot connect to NATS, and goes on trying");
        }
        *logged = why;
        std::future::ready(None)
    });
    let options = options.event_callback(move |event| {
        match event {
            Event::Connected => {
                info!("the {who} is connected to NATS");
                state.send_replace(true);
            }
            Event::Disconnected => {
                warn!("the {who} has lost its connection to NATS: nothing comes and goes until it is back");
                state.send_replace(false);
            }
            Event::ServerError(error) => {
                refusals.log(move |count| warn!(%error, count, "NATS refuses something of the {who}"));
            }
            _ => {}
        }
        std::future::ready(())
    });
    Ok((address, options))
}

/// Takes the user and the password of the URL, or its token, into options. async-nats does not use those in a URL, and writes URLs to
/// its log.
///
/// # Errors
/// When one of them is not percent-encoded UTF-8, or there is a password without a user.
fn login(address: ServerAddr) -> Result<(ServerAddr, ConnectOptions), BoxError> {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8().map(String::from);
    let user = address.username().map(decoded).transpose()?;
    let password = address.password().map(decoded).transpose()?;
    let options = match (user, password) {
        (Some(user), Some(password)) => ConnectOptions::with_user_and_password(user, password),
        (Some(token), None) => ConnectOptions::with_token(token),
        (None, None) => ConnectOptions::new(),
        (None, Some(_)) => return Err("the URL has a password without a user".into()),
    };
    let mut url = address.into_inner();
    let is_taken_out = url.set_username("").and_then(|()| url.set_password(None)).is_ok();
    let address = ServerAddr::from_url(url)?;
    if is_taken_out { Ok((address, options)) } else { Err("the URL has no host".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_login_is_taken_out_of_the_url_and_a_password_alone_is_none() {
        let login = |url: &str| login(url.parse().unwrap());
        for url in ["nats://me:secret@10.0.0.1", "nats://token@10.0.0.1", "nats://10.0.0.1"] {
            assert!(!login(url).unwrap().0.as_url_str().contains('@'), "{url}");
        }
        let error = login("nats://:secret@10.0.0.1").err().unwrap();
        assert!(!format!("{error:?}").contains("secret"));
    }
}
