//! Rooms in Redis: shared by workers, lost and found again, and without members that have left.

use std::process::{Child, Command, Stdio};

use crate::support::{KEY, Live, RedisServer, USERS, now, settings};
use gatewayworker_tests::eventually;
use method_router::App;
use method_router::auth::Kind::WechatUser;
use serde_json::json;

pub(crate) async fn redis_is_empty_after_the_last_user_has_left() {
    let redis = RedisServer::start().await;
    let live = Live::with(&redis.settings()).await;
    let mut alice = live.join("1", WechatUser).await;
    let bob = live.join("2", WechatUser).await;
    assert_eq!(redis.users(), 2);
    alice.hear("live.user.joined").await;
    alice.ask(json!({"method": "live.user.say", "text": "hi"})).await;
    assert!(redis.command::<i64>(&["TTL", "method-router:room:room1:said"]) > 80_000);
    let seconds = redis.command::<i64>(&["TTL", USERS]);
    assert!((60..=90).contains(&seconds), "{seconds}");
    drop((alice, bob));
    eventually("the room to be empty", async || redis.users() == 0).await;
    assert_eq!(redis.command::<Vec<String>>(&["KEYS", "*"]), ["method-router:room:room1:said"]);
}

pub(crate) async fn a_member_that_no_worker_renews_leaves_the_room() {
    let redis = RedisServer::start().await;
    let live = Live::with(&redis.settings()).await;
    let mut alice = live.join("1", WechatUser).await;
    // As a gateway that was killed leaves them behind.
    let long_ago = (now() - 90).to_string();
    assert_eq!(redis.command::<i64>(&["ZADD", USERS, &long_ago, "a", &long_ago, "b"]), 2);
    let list = alice.ask(json!({"method": "live.user.list"})).await;
    assert_eq!(list["param"]["users"].as_array().unwrap().len(), 1);
    assert_eq!(list["param"]["counts"]["users"], 1);
    assert_eq!(redis.users(), 1, "and what was left is cleared away");
}

pub(crate) async fn an_emptied_redis_gets_all_members_again() {
    let mut redis = RedisServer::start().await;
    let live = Live::with(&redis.settings()).await;
    let mut alice = live.join("1", WechatUser).await;
    redis.restart().await;
    assert_eq!(redis.users(), 0);
    eventually("her heartbeat to be noted", async || {
        let answer = alice.ask(json!({"method": "index.index.index"})).await;
        assert_eq!(answer["status"], 200, "{answer}");
        redis.users() == 1
    })
    .await;
    let list = alice.ask(json!({"method": "live.user.list"})).await;
    assert_eq!(list["param"]["users"][0]["nickname"], "用户1");

    // A member that has left does not return.
    alice.ask(json!({"method": "live.user.leave"})).await;
    alice.ask(json!({"method": "index.index.index"})).await;
    assert_eq!(redis.users(), 0);
}

pub(crate) async fn without_redis_a_request_gets_an_error_until_it_returns() {
    let mut redis = RedisServer::start().await;
    let live = Live::with(&redis.settings()).await;
    let mut alice = live.join("1", WechatUser).await;
    let say = json!({"method": "live.user.list"});
    redis.kill();
    let answer = alice.ask(say.clone()).await;
    assert_eq!((&answer["status"], &answer["info"]), (&json!(503), &json!("服务暂时不可用，请稍后再试")));
    assert_eq!(alice.ask(json!({"method": "index.index.index"})).await["status"], 200, "the rest goes on");

    let mut bob = live.enter("2", WechatUser).await;
    let join = json!({"method": "live.user.join", "code": "room1"});
    assert_eq!(bob.ask(join.clone()).await["status"], 503);
    redis.restart().await;
    alice.ask_until(200, say).await;
    assert_eq!(bob.ask(join).await["info"], "加入成功", "the first time had not counted");
}

pub(crate) async fn a_request_to_a_hanging_redis_fails_in_bounded_time() {
    let redis = RedisServer::start().await;
    let live = Live::with(&redis.settings()).await;
    let mut alice = live.join("1", WechatUser).await;
    redis.freeze(true);
    assert_eq!(alice.ask(json!({"method": "live.room.info"})).await["status"], 503);
    redis.freeze(false);
    alice.ask_until(200, json!({"method": "live.room.info"})).await;
}

pub(crate) async fn a_worker_starts_without_redis_and_finds_it_later() {
    let mut redis = RedisServer::start().await;
    redis.kill();
    let live = Live::with(&redis.settings()).await;
    let mut alice = live.enter("1", WechatUser).await;
    assert_eq!(alice.ask(json!({"method": "live.room.info"})).await["status"], 503);
    redis.restart().await;
    alice.ask_until(200, json!({"method": "live.room.info"})).await;
}

pub(crate) async fn a_user_who_leaves_while_redis_is_down_is_removed_afterwards() {
    let redis = RedisServer::start().await;
    let live = Live::with(&redis.settings()).await;
    let mut alice = live.join("1", WechatUser).await;
    let bob = live.join("2", WechatUser).await;
    alice.hear("live.user.joined").await;
    redis.freeze(true);
    drop(bob);
    assert_eq!(alice.hear("live.user.left").await["counts"], json!(null), "nobody could count");
    redis.freeze(false);
    eventually("Bob to be struck off", async || redis.users() == 1).await;
}

pub(crate) async fn a_join_that_redis_has_written_too_late_is_removed() {
    let redis = RedisServer::start().await;
    let live = Live::with(&redis.settings()).await;
    let mut alice = live.enter("1", WechatUser).await;
    assert_eq!(alice.ask(json!({"method": "live.room.info"})).await["status"], 200, "there is a connection");
    redis.freeze(true);
    assert_eq!(alice.ask(json!({"method": "live.user.join", "code": "room1"})).await["status"], 503);
    redis.freeze(false);
    eventually("the late entry", async || redis.users() == 1).await;
    assert_eq!(alice.ask(json!({"method": "live.user.say", "text": "hi"})).await["info"], "请先加入房间");
    drop(alice);
    eventually("it to be struck off", async || redis.users() == 0).await;
}

/// A worker in a process of its own, to be killed.
struct Worker(Child);

impl Worker {
    fn start(live: &Live, redis: &RedisServer) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_method-router"));
        command.args(["--register-address", &live.cluster.register.to_string()]);
        command.env("METHOD_ROUTER_AUTH_KEY", KEY).env("METHOD_ROUTER_REDIS", redis.url());
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(crate) async fn a_worker_removes_the_members_of_a_killed_worker() {
    let redis = RedisServer::start().await;
    let mut live = Live::with(&settings()).await;
    live.worker = None;
    let mut first = Worker::start(&live, &redis);
    let mut alice = live.join("1", WechatUser).await;
    let bob = live.join("2", WechatUser).await;
    alice.hear("live.user.joined").await;
    first.kill();

    // One leaves while no worker is there, the other is taken over and leaves then.
    drop(bob);
    live.worker = Some(live.cluster.start_application(App::new(&redis.settings()).unwrap()));
    assert_eq!(alice.hear("live.user.left").await["user"]["id"], "2");
    assert_eq!(redis.users(), 1);
    let list = alice.ask(json!({"method": "live.user.list"})).await;
    assert_eq!(list["param"]["users"][0]["id"], "1", "Alice is still in");
    drop(alice);
    eventually("the room to be empty", async || redis.users() == 0).await;
}

pub(crate) async fn two_workers_share_one_room() {
    let redis = RedisServer::start().await;
    let live = Live::with(&redis.settings()).await;
    let _other = live.cluster.start_application(App::new(&redis.settings()).unwrap());
    // A gateway routes a client to the worker with the fewest, so four clients use both workers.
    let mut guests = Vec::new();
    for id in ["1", "2", "3", "4"] {
        guests.push(live.join(id, WechatUser).await);
    }
    let list = guests[3].ask(json!({"method": "live.user.list"})).await;
    assert_eq!(list["param"]["users"].as_array().unwrap().len(), 4);
    guests[0].hear("live.user.joined").await;
}
