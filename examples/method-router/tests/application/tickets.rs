//! Tickets in the handshake: admitted and refused clients.

use std::time::Duration;

use crate::support::{Guest, KEY, Live, auth, now, settings, ticket};
use gatewayworker_tests::{Cluster, TcpClient};
use method_router::App;
use method_router::auth::{Key, Kind, Ticket};
use serde_json::{Value, json};
use tokio::time::Instant;

/// The last message and the close code of a client with this query.
async fn refused(live: &Live, auth: &str) -> (Value, u16) {
    let mut guest = Guest::enter(live.listener(), auth).await;
    let last = guest.0.json().await;
    (last, guest.0.close_code().await)
}

#[tokio::test]
async fn a_handshake_without_a_valid_ticket_is_refused() {
    let live = Live::start().await;
    let sign =
        |key: &str, ctime| Key::new(key).unwrap().sign(&Ticket { ctime, ..ticket("1", Kind::WechatUser) });
    let good = auth("1", Kind::WechatUser);
    let (_, mac) = good.split_once('.').unwrap();
    let (other, _) =
        auth("2", Kind::WechatUser).split_once('.').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    for (auth, reason, info) in [
        (String::new(), "missing", "缺少 auth"),
        ("junk".into(), "invalid", "auth 无效"),
        (format!("{other}.{mac}"), "invalid", "auth 无效"),
        (sign("somebody else's key", now()), "invalid", "auth 无效"),
        (sign(KEY, now() - 601), "expired", "auth 已过期，请重新获取"),
        (sign(KEY, now() + 60), "early", "auth 的时间晚于当前时间"),
    ] {
        let (last, code) = refused(&live, &auth).await;
        let param = json!({"reason": reason});
        assert_eq!(last, json!({"status": 403, "info": info, "param": param, "event": "auth"}), "{auth}");
        assert_eq!(code, 1008, "{auth}");
    }
    let mut guest = Guest::enter(live.listener(), &sign(KEY, now() - 590)).await;
    assert_eq!(guest.ask(json!({"method": "index.index.index"})).await["status"], 200);
}

#[tokio::test]
async fn a_refused_client_receives_nothing_of_the_room() {
    let live = Live::start().await;
    let mut alice = live.join("1", Kind::WechatUser).await;
    let mut stranger = Guest::enter(live.listener(), "junk").await;
    assert_eq!(stranger.0.json().await["status"], 403);
    assert_ne!(stranger.0.close_code().await, 0);
    let list = alice.ask(json!({"method": "live.user.list"})).await;
    assert_eq!(list["param"]["counts"]["users"], 1);
}

#[tokio::test]
async fn a_listener_without_a_handshake_admits_no_client() {
    let cluster = Cluster::builder().workers(0).listen("listen = ['text://127.0.0.1:0']").start().await;
    let _worker = cluster.start_application(App::new(&settings()).unwrap());
    let mut client = TcpClient::connect(cluster.listener()).await;
    client.send(b"{\"method\":\"live.user.list\"}\n").await;
    let last: Value = serde_json::from_slice(&client.rest().await).unwrap();
    assert_eq!((&last["status"], &last["event"]), (&json!(403), &json!("auth")));
}

/// The gateway's configuration that comes along, with an interval of so many seconds.
async fn cluster(ping_interval: f64) -> Cluster {
    let file: gatewayworker::gateway::Config =
        toml::from_str(include_str!("../../config/gateway.toml")).unwrap();
    Cluster::builder()
        .workers(0)
        .gateway(|config| {
            config.ping_interval = ping_interval;
            config.ping_not_response_limit = file.ping_not_response_limit;
            config.ping_data = file.ping_data;
        })
        .start()
        .await
}

#[tokio::test]
async fn a_client_that_is_silent_for_a_minute_is_closed() {
    let file: gatewayworker::gateway::Config =
        toml::from_str(include_str!("../../config/gateway.toml")).unwrap();
    let minute = |interval: f64| interval * (f64::from(file.ping_not_response_limit) + 0.5);
    assert_eq!(minute(file.ping_interval), 60.0);

    let interval = 0.8;
    let cluster = cluster(interval).await;
    let _worker = cluster.start_application(App::new(&settings()).unwrap());
    let mut talker = Guest::enter(cluster.listener(), &auth("1", Kind::WechatUser)).await;
    let mut silent = Guest::enter(cluster.listener(), &auth("2", Kind::WechatUser)).await;
    let entered = Instant::now();
    let mut said = 0;
    let closed = async {
        assert_eq!(silent.0.close_code().await, 1001, "it is told why");
        entered.elapsed().as_secs_f64()
    };
    tokio::pin!(closed);
    let after = loop {
        tokio::select! {
            after = &mut closed => break after,
            () = tokio::time::sleep(Duration::from_secs_f64(interval / 4.0)) => {
                assert_eq!(talker.ask(json!({"method": "index.index.index"})).await["status"], 200);
                said += 1;
            }
        }
    };
    assert!((0.9..2.0).contains(&(after / minute(interval))), "closed after {after} s");
    assert!(said > 2);
    assert_eq!(talker.ask(json!({"method": "index.index.index"})).await["status"], 200, "still there");
}
