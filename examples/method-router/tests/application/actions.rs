//! All actions, and the answers to invalid requests.

use crate::support::{Live, settings};
use gatewayworker_tests::eventually;
use method_router::auth::Kind::{Wall, WechatUser};
use method_router::settings::Settings;
use serde_json::{Value, json};

#[tokio::test]
async fn the_default_action_is_done() {
    let live = Live::start().await;
    let mut guest = live.enter("1", WechatUser).await;
    for method in ["index.index.index", "Index.Index.index"] {
        let answer = guest.ask(json!({"method": method, "name": "hello"})).await;
        assert_eq!(
            answer,
            json!({"status": 200, "info": "执行完成", "param": {"name": "hello"}, "event": "success"})
        );
    }
}

#[tokio::test]
async fn a_join_returns_the_members_and_notifies_them() {
    let live = Live::start().await;
    let mut first = live.join("1", WechatUser).await;
    let mut second = live.enter("2", WechatUser).await;
    let answer = second.ask(json!({"method": "live.user.join", "code": "room1"})).await;
    assert_eq!((&answer["status"], &answer["info"]), (&json!(200), &json!("加入成功")));
    let mut names: Vec<_> =
        answer["param"]["users"].as_array().unwrap().iter().map(|user| &user["nickname"]).collect();
    names.sort_by_key(|name| name.to_string());
    assert_eq!(names, ["用户1", "用户2"]);
    assert_eq!(answer["param"]["counts"], json!({"users": 2, "walls": 0, "said": 0}));

    let news = first.hear("live.user.joined").await;
    assert_eq!(news["user"]["client_id"], answer["param"]["client_id"]);
    assert_eq!(news["counts"]["users"], 2);

    let again = second.ask(json!({"method": "live.user.join", "code": "room1"})).await;
    assert_eq!((&again["status"], &again["info"]), (&json!(200), &json!("已在房间中")));
    second.ask(json!({"method": "live.user.say", "text": "一次就够"})).await;
    let _ = first.hear("live.user.said").await;
}

#[tokio::test]
async fn a_message_reaches_the_whole_room() {
    let live = Live::start().await;
    let mut wall = live.join("0", Wall).await;
    let mut alice = live.join("1", WechatUser).await;
    let news = wall.hear("live.user.joined").await;
    assert_eq!(
        (&news["type"], &news["counts"]),
        (&json!("wechatUser"), &json!({"users": 1, "walls": 1, "said": 0}))
    );

    alice.0.send_json(json!({"method": "live.user.say", "text": " 大家好 "})).await;
    let mut heard = [alice.0.json().await, alice.0.json().await];
    heard.sort_by_key(|message| message["event"].to_string());
    assert_eq!(
        (&heard[0]["event"], &heard[0]["param"]),
        (&json!("live.user.said"), &wall.hear("live.user.said").await)
    );
    assert_eq!(heard[0]["param"]["text"], "大家好");
    assert_eq!(heard[0]["param"]["user"]["nickname"], "用户1");
    assert_eq!(
        heard[1],
        json!({"status": 200, "info": "成功", "param": {"number": 1}, "event": "live.user.say"})
    );
}

#[tokio::test]
async fn a_wall_cannot_send_and_is_no_user() {
    let live = Live::start().await;
    let mut wall = live.join("0", Wall).await;
    let answer = wall.ask(json!({"method": "live.user.say", "text": "hi"})).await;
    assert_eq!((&answer["status"], &answer["info"]), (&json!(403), &json!("大屏幕只能观看")));
    let info = wall.ask(json!({"method": "live.room.info"})).await;
    assert_eq!(info["param"], json!({"code": "room1", "counts": {"users": 0, "walls": 1, "said": 0}}));
    let list = wall.ask(json!({"method": "live.user.list"})).await;
    assert_eq!(list["param"]["users"], json!([]), "a wall is nobody to talk to");
}

#[tokio::test]
async fn a_user_who_leaves_the_room_stays_connected() {
    let live = Live::start().await;
    let mut alice = live.join("1", WechatUser).await;
    let mut bob = live.join("2", WechatUser).await;
    alice.hear("live.user.joined").await;
    let answer = bob.ask(json!({"method": "live.user.leave"})).await;
    assert_eq!((&answer["status"], &answer["info"]), (&json!(200), &json!("已离开房间")));
    let news = alice.hear("live.user.left").await;
    assert_eq!((&news["user"]["id"], &news["counts"]["users"]), (&json!("2"), &json!(1)));

    for method in ["live.user.say", "live.user.leave"] {
        let answer = bob.ask(json!({"method": method, "text": "hi"})).await;
        assert_eq!((&answer["status"], &answer["info"]), (&json!(403), &json!("请先加入房间")));
    }
    // The cleanup is unregistered, so the others are not notified twice.
    bob.0.close().await;
    let list = alice.ask(json!({"method": "live.user.list"})).await;
    assert_eq!(list["param"]["users"].as_array().unwrap().len(), 1);
    assert_eq!(list["event"], "live.user.list");
}

#[tokio::test]
async fn a_user_who_disconnects_leaves_the_room() {
    let live = Live::start().await;
    let mut alice = live.join("1", WechatUser).await;
    let bob = live.join("2", WechatUser).await;
    alice.hear("live.user.joined").await;
    drop(bob);
    let news = alice.hear("live.user.left").await;
    assert_eq!((&news["user"]["id"], &news["counts"]["users"]), (&json!("2"), &json!(1)));
}

#[tokio::test]
async fn an_invalid_request_is_an_error_with_its_reason() {
    let live = Live::start().await;
    let mut guest = live.join("1", WechatUser).await;
    let long = "字".repeat(201);
    for (request, status, info, event) in [
        ("hello".to_owned(), 400, "请求必须是一个 JSON 对象", "error"),
        ("[]".to_owned(), 400, "请求必须是一个 JSON 对象", "error"),
        ("{}".to_owned(), 400, "请求缺少 method", "error"),
        (r#"{"method":["live"]}"#.to_owned(), 400, "请求缺少 method", "error"),
        (r#"{"method":"live.user.fly"}"#.to_owned(), 404, "没有这个方法", "live.user.fly"),
        (r#"{"method":"live.user.join"}"#.to_owned(), 400, "缺少参数 code", "live.user.join"),
        (
            r#"{"method":"live.user.join","code":7}"#.to_owned(),
            400,
            "参数 code 有误：invalid type: integer `7`, expected a string",
            "live.user.join",
        ),
        (
            r#"{"method":"live.user.join","code":"room2"}"#.to_owned(),
            403,
            "auth 不是这个房间的",
            "live.user.join",
        ),
        (r#"{"method":"live.user.say"}"#.to_owned(), 400, "缺少参数 text", "live.user.say"),
        (
            r#"{"method":"live.user.say","text":" "}"#.to_owned(),
            400,
            "参数 text 有误：不能为空",
            "live.user.say",
        ),
        (
            json!({"method": "live.user.say", "text": long}).to_string(),
            400,
            "参数 text 有误：最多 200 个字",
            "live.user.say",
        ),
    ] {
        guest.0.send(&request).await;
        let answer = guest.0.json().await;
        assert_eq!((&answer["status"], &answer["info"]), (&json!(status), &json!(info)), "{request}");
        assert_eq!(answer["event"], event, "{request}");
        let field = answer["param"]["field"].as_str();
        assert_eq!(field.is_some(), info.contains("参数"), "{answer}");
    }
    assert_eq!(guest.ask(json!({"method": "live.user.list"})).await["status"], 200, "and it goes on");
}

#[tokio::test]
async fn a_client_over_the_rate_is_told_to_wait() {
    let live = Live::with(&Settings { burst: 3, per_second: 2.0, ..settings() }).await;
    let mut guest = live.enter("1", WechatUser).await;
    let mut other = live.enter("2", WechatUser).await;
    let ping = json!({"method": "index.index.index"});
    let mut refused = Value::Null;
    eventually("too many requests", async || {
        refused = guest.ask(ping.clone()).await;
        refused["status"] == 429
    })
    .await;
    assert_eq!(refused["info"], "操作太频繁，请稍后再试");
    assert_eq!(other.ask(ping.clone()).await["status"], 200, "others are not held up");
    guest.ask_until(200, ping).await;
}
