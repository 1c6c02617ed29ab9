//! Page views in a real Redis.

use crate::support::{Redis, Site, next, numbers};
use gatewayworker_tests::{Cluster, eventually};
use live_room::Settings;
use serde_json::{Value, json};
use tokio::net::TcpListener;

async fn site(redis: &Redis) -> Site {
    Site::with(Cluster::builder(), Settings { redis: redis.url(), ..Settings::default() }).await
}

pub(crate) async fn views_of_backend_and_socket_are_counted_in_the_rooms_hash() {
    let redis = Redis::start().await;
    redis.ask("HSET PV:ROOM:1 ROOM_TOTAL_PV 40").await;
    let site = site(&redis).await;
    let (mut socket, _) = site.connect().await;
    socket.send_json(json!({"type": "join", "roomId": 1, "userName": "A"})).await;
    numbers(&mut socket, 1, 41).await;
    let user = site.log_in("B").await;
    let (_client, id) = site.connect().await;
    assert_eq!(user.bind(&id).await.status, 200);
    numbers(&mut socket, 2, 42).await;
    assert_eq!(redis.ask("HGET PV:ROOM:1 ROOM_TOTAL_PV").await.unwrap(), "42");
    assert_eq!(site.get("/room?roomId=1").await.json["pv"], 42);
    assert_eq!(site.get("/room?roomId=2").await.json["pv"], 0);
}

pub(crate) async fn the_room_goes_on_without_redis_and_uses_it_again() {
    let redis = Redis::start().await;
    let port = redis.port;
    let site = site(&redis).await;
    let alice = site.log_in("A").await;
    let (mut at_alice, id) = site.connect().await;
    assert_eq!(alice.bind(&id).await.json.get("message"), None);
    numbers(&mut at_alice, 1, 1).await;

    drop(redis);
    assert_eq!(site.get("/room?roomId=1").await.refusal(), (503, "浏览量暂时无法统计"));
    let bob = site.log_in("B").await;
    let (mut at_bob, id) = site.connect().await;
    let bound = bob.bind(&id).await;
    assert_eq!((bound.status, &bound.json["message"]), (200, &json!("浏览量暂时无法统计")));
    numbers(&mut at_alice, 2, Value::Null).await;
    assert_eq!(next(&mut at_bob).await["type"], "join");
    assert_eq!(bob.say("anyway").await.status, 200);
    assert_eq!(next(&mut at_bob).await["content"], "anyway");
    let (mut socket, _) = site.connect().await;
    socket.send_json(json!({"type": "join", "roomId": "1", "userName": "C"})).await;
    assert_eq!(next(&mut socket).await["content"], "anyway", "the comment of before");
    assert_eq!(next(&mut socket).await["type"], "join");
    assert_eq!(next(&mut socket).await["message"], "浏览量暂时无法统计");

    let _redis = Redis::start_at(port).await;
    eventually("views to be counted again", async || site.get("/room?roomId=1").await.json["pv"] == 0).await;
    // It holds another count now, and nobody has to come or go for that to be told.
    numbers(&mut at_alice, 3, 0).await;
}

pub(crate) async fn a_redis_restart_between_two_requests_is_not_noticed() {
    let redis = Redis::start().await;
    let port = redis.port;
    let site = site(&redis).await;
    let alice = site.log_in("A").await;
    let (mut at_alice, id) = site.connect().await;
    assert_eq!(alice.bind(&id).await.status, 200);
    numbers(&mut at_alice, 1, 1).await;
    drop(redis);
    let redis = Redis::start_at(port).await;
    let (_client, id) = site.connect().await;
    assert_eq!(alice.bind(&id).await.json.get("message"), None);
    assert_eq!(redis.ask("HGET PV:ROOM:1 ROOM_TOTAL_PV").await.unwrap(), "1");
}

pub(crate) async fn a_hanging_redis_delays_a_request_for_a_bounded_time() {
    let hung = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let redis = format!("redis://{}", hung.local_addr().unwrap());
    let site = Site::with(Cluster::builder(), Settings { redis, ..Settings::default() }).await;
    assert_eq!(site.get("/room?roomId=1").await.refusal(), (503, "浏览量暂时无法统计"));
    let alice = site.log_in("A").await;
    let (_client, id) = site.connect().await;
    assert_eq!(alice.bind(&id).await.json["message"], "浏览量暂时无法统计");
    assert_eq!(alice.say("anyway").await.status, 200);
}
