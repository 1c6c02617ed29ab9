//! The backend: login, bind, comments and numbers.

use crate::support::{Site, User, next, numbers, without_time};
use gatewayworker_tests::{Cluster, WsClient, eventually, register_as_gateway};
use live_room::Settings;
use serde_json::json;
use tokio::net::TcpListener;

const GONE: (u16, &str) = (503, "网关暂时不可用，请稍后再试");

/// Logs in, connects to a gateway, and binds.
async fn come_in<'a>(site: &'a Site, gateway: usize, name: &str) -> (User<'a>, WsClient) {
    let user = site.log_in(name).await;
    let (mut client, id) = site.connect_to(gateway).await;
    let answer = user.bind(&id).await;
    let expected =
        json!({"type": "bind", "roomId": "1", "userId": user.id, "userName": name, "unreached": 0});
    assert_eq!((answer.status, &answer.json), (200, &expected));
    let join = without_time(next(&mut client).await, "joinTime");
    assert_eq!(
        join,
        json!({"type": "join", "roomId": "1", "userName": name, "msg": "enters the Room", "userId": user.id})
    );
    (user, client)
}

#[tokio::test]
async fn a_comment_is_posted_and_pushed_to_the_room_at_all_gateways() {
    let site = Site::with(Cluster::builder().gateways(2), Settings::default()).await;
    let (alice, mut at_alice) = come_in(&site, 0, "小明").await;
    let (_bob, mut at_bob) = come_in(&site, 1, "Bob").await;
    assert_eq!(next(&mut at_alice).await["userName"], "Bob");

    let answer = alice.say("你好 <b>").await;
    assert_eq!((answer.status, answer.json), (200, json!({"type": "sent", "unreached": 0})));
    let say = json!({
        "type": "say", "roomId": "1", "userName": "小明", "content": "你好 <b>", "msg": "你好 <b>", "userId": alice.id,
    });
    assert_eq!(without_time(next(&mut at_alice).await, "commentTime"), say);
    assert_eq!(without_time(next(&mut at_bob).await, "commentTime"), say);
}

#[tokio::test]
async fn a_page_that_is_bound_later_gets_the_last_comments_but_not_those_for_one_user() {
    let site = Site::start().await;
    let (alice, mut at_alice) = come_in(&site, 0, "A").await;
    assert_eq!(alice.post("/say", json!({"roomId": "1", "content": "x", "to": alice.id})).await.status, 200);
    alice.say("for all").await;
    assert_eq!(next(&mut at_alice).await["content"], "x");
    let said = next(&mut at_alice).await;
    let bob = site.log_in("B").await;
    let (mut at_bob, id) = site.connect().await;
    assert_eq!(bob.bind(&id).await.status, 200);
    assert_eq!(next(&mut at_bob).await, said);
    assert_eq!(next(&mut at_bob).await["type"], "join");
}

#[tokio::test]
async fn a_comment_may_be_for_one_user_on_all_their_pages() {
    let site = Site::with(Cluster::builder().gateways(2), Settings::default()).await;
    let (alice, mut at_alice) = come_in(&site, 0, "A").await;
    let (bob, mut at_bob) = come_in(&site, 1, "B").await;
    let (mut also_bob, id) = site.connect_to(0).await;
    assert_eq!(bob.bind(&id).await.status, 200);
    let (_carol, mut at_carol) = come_in(&site, 0, "C").await;

    let answer = alice.post("/say", json!({"roomId": "1", "content": "只给你", "to": bob.id})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    for client in [&mut at_bob, &mut also_bob, &mut at_alice] {
        loop {
            let message = next(client).await;
            if message["type"] == "say" {
                assert_eq!((&message["content"], &message["to"]), (&json!("只给你"), &json!(bob.id)));
                break;
            }
        }
    }
    bob.say("大家好").await;
    assert_eq!(next(&mut at_carol).await["content"], "大家好", "she has not heard the other");

    let dave = site.log_in("D").await;
    for absent in [&*dave.id, "nobody"] {
        let answer = alice.post("/say", json!({"roomId": "1", "content": "x", "to": absent})).await;
        assert_eq!(answer.refusal(), (404, "对方不在这个直播间"));
    }
}

#[tokio::test]
async fn a_client_that_has_logged_in_over_the_socket_cannot_be_bound() {
    let site = Site::start().await;
    let (mut bob, id) = site.connect().await;
    bob.send_json(json!({"type": "join", "roomId": "2", "userName": "B"})).await;
    assert_eq!(next(&mut bob).await["type"], "join");
    let mallory = site.log_in("M").await;
    assert_eq!(mallory.bind(&id).await.refusal(), (403, "这个连接已经自行进入了直播间"));
}

#[tokio::test]
async fn backend_and_socket_share_a_room() {
    let site = Site::start().await;
    let (alice, mut at_alice) = come_in(&site, 0, "A").await;
    let (mut bob, _) = site.connect().await;
    bob.send_json(json!({"type": "join", "roomId": "1", "userName": "B"})).await;
    assert_eq!(
        (&next(&mut bob).await["userName"], &next(&mut at_alice).await["userName"]),
        (&json!("B"), &json!("B"))
    );
    numbers(&mut at_alice, 2, 2).await;
    alice.say("to B").await;
    assert_eq!(next(&mut bob).await["content"], "to B");
    bob.send_json(json!({"type": "say", "roomId": "1", "content": "to A"})).await;
    assert_eq!(next(&mut at_alice).await["content"], "to B");
    let heard = next(&mut at_alice).await;
    assert_eq!((&heard["content"], heard.get("userId")), (&json!("to A"), None), "nobody vouches for him");
}

#[tokio::test]
async fn a_client_bound_by_the_backend_cannot_change_its_user_over_the_socket() {
    let site = Site::start().await;
    let (_alice, mut at_alice) = come_in(&site, 0, "A").await;
    at_alice.send_json(json!({"type": "say", "roomId": "1", "userName": "Eve", "content": "x"})).await;
    assert_eq!(next(&mut at_alice).await["message"], "请通过网站发表评论");
}

#[tokio::test]
async fn a_client_id_is_bound_once_if_it_is_online() {
    let site = Site::start().await;
    let (alice, mut at_alice) = come_in(&site, 0, "A").await;
    let (mut client, id) = site.connect().await;
    assert_eq!(alice.bind(&id).await.status, 200);
    assert_eq!(next(&mut at_alice).await["type"], "join");
    numbers(&mut at_alice, 2, 2).await;
    // Once more is the same once.
    assert_eq!(alice.bind(&id).await.status, 200);
    numbers(&mut client, 2, 2).await;

    let mallory = site.log_in("M").await;
    assert_eq!(mallory.bind(&id).await.refusal(), (403, "这个连接属于另一个用户"));
    client.close().await;
    numbers(&mut at_alice, 1, 2).await;
    assert_eq!(mallory.bind(&id).await.refusal(), (404, "这个连接不在线"));
    // A gateway that nobody knows.
    assert_eq!(mallory.bind("7f0000010001c0ffee00").await.refusal(), (404, "这个连接不在线"));
}

#[tokio::test]
async fn an_invalid_request_is_answered_with_an_error() {
    let site = Site::start().await;
    let (mut client, id) = site.connect().await;
    let long = "字".repeat(501);
    for (path, body, refusal) in [
        ("/bind", json!({"roomId": "1", "client_id": "nonsense"}), (400, "连接编号格式错误")),
        ("/bind", json!({"roomId": "1", "client_id": 7}), (400, "连接编号格式错误")),
        ("/bind", json!({"roomId": "1"}), (400, "连接编号格式错误")),
        ("/bind", json!({"client_id": id}), (400, "缺少直播间编号")),
        ("/bind", json!({"roomId": "9", "client_id": id}), (400, "直播间不存在")),
        ("/bind", json!({"roomId": {}, "client_id": id}), (400, "直播间编号格式错误")),
        ("/bind", json!([]), (400, "消息格式错误")),
        ("/say", json!({"roomId": "1", "content": "x"}), (403, "请先进入直播间")),
        ("/say", json!({"roomId": "9", "content": "x"}), (400, "直播间不存在")),
        ("/say", json!({"content": "x"}), (400, "缺少直播间编号")),
        ("/say", json!({"roomId": "1"}), (400, "评论内容不能为空")),
        ("/say", json!({"roomId": "1", "content": ""}), (400, "评论内容不能为空")),
        ("/say", json!({"roomId": "1", "content": [1]}), (400, "评论格式错误")),
        ("/say", json!({"roomId": "1", "content": long}), (400, "评论内容过长")),
        ("/say", json!({"roomId": "1", "content": "x", "to": []}), (400, "用户编号格式错误")),
        ("/login", json!({}), (400, "用户名不能为空")),
        ("/login", json!({"userName": 7}), (400, "用户名格式错误")),
        ("/login", json!({"userName": "a\nb"}), (400, "用户名格式错误")),
        ("/login", json!({"userName": "名".repeat(33)}), (400, "用户名过长")),
    ] {
        let user = site.log_in("小明").await;
        let answer = user.post(path, body.clone()).await;
        assert_eq!(answer.refusal(), refusal, "{path} {body}");
    }
    // None of it has put the client anywhere.
    let (alice, _at_alice) = come_in(&site, 0, "A").await;
    alice.say("x").await;
    client.send_json(json!({"type": "dance"})).await;
    assert_eq!(client.json().await["type"], "error");
}

#[tokio::test]
async fn a_request_without_a_login_of_this_backend_is_refused() {
    let site = Site::start().await;
    let (_client, id) = site.connect().await;
    let other = Site::start().await;
    let stranger = other.log_in("S").await;
    for token in [None, Some(""), Some("x.y"), Some(&*stranger.token)] {
        for (path, body) in [
            ("/bind", json!({"client_id": id, "roomId": "1"})),
            ("/say", json!({"roomId": "1", "content": "x", "userId": stranger.id})),
        ] {
            assert_eq!(site.post(path, token, body).await.refusal(), (401, "请先登录"), "{token:?}");
        }
    }
}

#[tokio::test]
async fn a_request_from_a_page_of_another_site_is_refused() {
    let site = Site::start().await;
    let user = site.log_in("小明").await;
    let bearer = format!("Bearer {}", user.token);
    let body = json!({"roomId": "1", "content": "x"}).to_string();
    let token = ("authorization", &*bearer);
    let post = async |headers: &[(&str, &str)]| site.request("POST", "/say", headers, &body).await;
    assert_eq!(
        post(&[token, ("content-type", "application/json")]).await.status,
        403,
        "heard, not in the room"
    );
    // Requests that a form or a link can make.
    assert_eq!(post(&[token]).await.status, 415);
    assert_eq!(post(&[token, ("content-type", "text/plain")]).await.status, 415);
    assert_eq!(site.get("/say").await.refusal(), (405, "不支持的请求方法"));
    // The preflight request of a script.
    let asked = [("origin", "http://evil.example"), ("access-control-request-method", "POST")];
    let answer = site.request("OPTIONS", "/say", &asked, "").await;
    assert!(answer.status == 405 && !answer.head.contains("access-control-allow"), "{answer:?}");
}

#[tokio::test]
async fn a_user_over_the_rate_gets_an_error_and_others_do_not() {
    let site = Site::start().await;
    let (alice, _at_alice) = come_in(&site, 0, "A").await;
    let (bob, _at_bob) = come_in(&site, 0, "B").await;
    let mut last = alice.say("x").await;
    for _ in 0..8 {
        last = alice.say("x").await;
    }
    assert_eq!(last.refusal(), (429, "发送过于频繁，请稍后再试"));
    assert_eq!(bob.say("x").await.status, 200);
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused() {
    let site = Site::start().await;
    let answer = site.post("/login", None, json!({"userName": "x".repeat(20_000)})).await;
    assert_eq!(answer.refusal(), (413, "请求内容过长或不完整"));
}

#[tokio::test]
async fn the_page_and_the_rooms_numbers_need_no_login() {
    let site = Site::start().await;
    let page = site.get("/").await;
    assert!(page.status == 200 && page.body.contains("<title>直播间</title>"), "{page:?}");
    assert!(page.head.contains("frame-ancestors 'none'"), "{page:?}");
    let socket = format!("ws://{}", site.cluster.listener());
    assert_eq!(site.get("/rooms").await.json, json!({"socket": socket, "rooms": ["1", "2"]}));
    let (_alice, _at_alice) = come_in(&site, 0, "A").await;
    let answer = site.get("/room?roomId=1").await;
    assert_eq!(answer.json, json!({"type": "room", "roomId": "1", "people": 1, "exact": true, "pv": 1}));
    assert_eq!(site.get("/room?roomId=2").await.json["people"], 0);
    assert_eq!(site.get("/room?roomId=9").await.refusal(), (400, "直播间不存在"));
    assert_eq!(site.get("/room").await.refusal(), (400, "缺少直播间编号"));
    assert_eq!(site.get("/nothing").await.refusal(), (404, "没有这个地址"));
}

#[tokio::test]
async fn a_missing_gateway_is_an_error_until_it_returns() {
    let mut site = Site::start().await;
    let token = {
        let (alice, mut at_alice) = come_in(&site, 0, "A").await;
        assert_eq!(alice.say("x").await.status, 200);
        assert_eq!(next(&mut at_alice).await["type"], "say");
        alice.token
    };
    site.cluster.gateways[0].stop().await;
    let say = json!({"roomId": "1", "content": "x"});
    eventually("the gateway to be missed", async || {
        let answer = site.get("/room?roomId=1").await;
        answer.status == 503 && answer.refusal() == GONE
    })
    .await;
    assert_eq!(site.post("/say", Some(&token), say.clone()).await.refusal(), GONE);

    site.cluster.start_gateway().await;
    eventually("the backend to know the new gateway", async || {
        site.get("/room?roomId=1").await.status == 200
    })
    .await;
    let (mut client, id) = site.connect_to(1).await;
    let bound = site.post("/bind", Some(&token), json!({"client_id": id, "roomId": "1"})).await;
    assert_eq!(bound.status, 200, "{bound:?}");
    assert_eq!(next(&mut client).await["content"], "x", "it was said before");
    assert_eq!(next(&mut client).await["type"], "join");
}

#[tokio::test]
async fn a_gateway_that_hangs_makes_numbers_lower_bounds_and_is_named_in_answers() {
    let site = Site::start().await;
    let (alice, mut at_alice) = come_in(&site, 0, "A").await;
    // It accepts, and never answers.
    let hung = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _announced = register_as_gateway(site.cluster.register, hung.local_addr().unwrap()).await;
    eventually("the other gateway to be asked", async || {
        site.get("/room?roomId=1").await.json["exact"] == false
    })
    .await;
    assert_eq!(site.get("/room?roomId=1").await.json["people"], 1);
    assert_eq!(alice.say("still here").await.status, 200, "the author is known to be in the room");
    assert_eq!(next(&mut at_alice).await["content"], "still here");
    // While a gateway is silent, a missing user is not reported as absent.
    let answer = alice.post("/say", json!({"roomId": "1", "content": "x", "to": "u2"})).await;
    assert_eq!(answer.refusal(), GONE);
}
