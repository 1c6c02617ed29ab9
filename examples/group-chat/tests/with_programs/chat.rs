//! The actions of members and their answers, with SQLite and PostgreSQL.

use crate::support::{Member, Postgres, Sqlite, settings, start};
use gatewayworker_tests::{Cluster, WsClient};
use group_chat::{MAX_CONTENT, MAX_THREADS, Settings};
use serde_json::{Value, json};
use sqlx::Connection;

/// Class 1, thread 1, and three who are in the class.
const TEACHER: (i64, i64, i64, &str) = (1, 1, 1, "王老师");
const LI_LEI: (i64, i64, i64, &str) = (1, 1, 2, "李雷");
const HAN_MEIMEI: (i64, i64, i64, &str) = (1, 1, 3, "韩梅梅");

/// Runs a statement in the database beside the application.
async fn sql(url: &str, statement: &str) {
    sqlx::any::install_default_drivers();
    let mut connection = sqlx::AnyConnection::connect(url).await.unwrap();
    sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
}

async fn chat(settings: &Settings) -> (Cluster, gatewayworker_tests::Application) {
    let cluster = Cluster::builder().workers(0).start().await;
    let application = start(&cluster, settings).await;
    (cluster, application)
}

/// Each test once for each database.
macro_rules! with_both_databases {
    ($($name:ident)*) => {
        pub(crate) mod sqlite {
            $(pub(crate) async fn $name() {
                let database = super::Sqlite::new();
                super::$name(&database.url()).await;
            })*
        }

        pub(crate) mod postgres {
            $(pub(crate) async fn $name() {
                let database = super::Postgres::start();
                super::$name(&database.url()).await;
            })*
        }
    };
}

with_both_databases! {
    each_action_has_its_codes
    a_message_is_sent_as_stored_and_reaches_every_gateway
    a_message_sent_again_with_its_key_is_stored_once
    the_history_comes_in_pages
    the_members_online_are_listed
}

async fn each_action_has_its_codes(database: &str) {
    let (cluster, _chat) = chat(&settings(database)).await;
    let mut member = Member::connect(&cluster, 0, LI_LEI).await;

    for action in ["join", "send", "history", "members", "leave"] {
        for field in ["class_id", "thread_id", "speaker", "speaker_name"] {
            for wrong in [Value::Null, json!(""), json!(0), json!([1]), json!({"a": 1})] {
                assert_eq!(member.code(action, json!({field: wrong})).await, 104, "{action} without {field}");
            }
        }
        assert_eq!(member.code(action, json!({"class_id": 99})).await, 103);
        assert_eq!(member.code(action, json!({"thread_id": 99})).await, 102);
        assert_eq!(member.code(action, json!({"thread_id": 3})).await, 102, "a thread of another class");
        assert_eq!(member.code(action, json!({"speaker": 4, "speaker_name": "小明"})).await, 107);
        assert_eq!(member.code(action, json!({"speaker": 99})).await, 107);
        assert_eq!(member.code(action, json!({"speaker_name": "李雷 "})).await, 107, "another name");
        assert_eq!(member.code(action, json!({"speaker_name": "李\u{0}雷"})).await, 107);
        assert_eq!(member.code(action, json!({"speaker_name": "' OR 1=1 --"})).await, 107);
    }
    let refusal = member.ask("join", json!({"class_id": 99})).await;
    let expected =
        json!({"op": "send", "status": false, "code": 103, "msg": "Class does not exist", "action": "join"});
    assert_eq!(refusal, expected);
    let unknown = member.ask("dance", json!({})).await;
    assert_eq!(
        unknown,
        json!({"op": "send", "status": false, "code": 101, "msg": "Illegal request", "action": "dance"})
    );

    for garbage in ["", "{", "[]", "7", "null", "\"join\"", "{\"action\":\"join\"}"] {
        member.client.send(garbage).await;
        assert_eq!(member.client.json().await["code"], 104, "{garbage:?}");
    }

    let joined = member.ask("join", json!({})).await;
    assert_eq!(
        (&joined["op"], &joined["thread"], &joined["status"]),
        (&json!("join"), &json!(1), &json!(true))
    );
    assert_eq!(joined["code"], 100);
    let quoted = json!({"class_id": "1", "thread_id": "1", "speaker": "2"});
    assert_eq!(member.code("join", quoted).await, 100, "joining twice is joining once");

    for wrong in [json!({"content": 7}), json!({"content": "hi", "key": 7})] {
        assert_eq!(member.code("send", wrong).await, 104);
    }
    for nothing in [json!({}), json!({"mes_id": 999}), json!({"mes_id": "x"})] {
        let refusal = member.ask("send", nothing.clone()).await;
        let expected =
            json!({"op": "sent", "status": false, "code": 108, "msg": "Illegal Request", "action": "send"});
        assert_eq!(refusal, expected, "{nothing}");
    }
    let too_long = "字".repeat(MAX_CONTENT + 1);
    for content in ["", " \n", "a\u{0}b", &too_long] {
        assert_eq!(member.code("send", json!({"content": content})).await, 109);
    }
    member.send(&"字".repeat(MAX_CONTENT)).await;
    assert_eq!(member.code("history", json!({"before": "x"})).await, 104);

    member.client.send("{\"action\":\"keep\"}").await;
    assert_eq!(member.client.json().await, json!({"op": "keep"}));
    member.client.send("{\"action\":\"directory\"}").await;
    let directory = member.client.json().await;
    assert_eq!(directory["classes"][1]["threads"][1], json!({"id": 4, "name": "春游"}));
    assert_eq!(directory["classes"][0]["members"].as_array().unwrap().len(), 3);
}

async fn a_message_sent_again_with_its_key_is_stored_once(database: &str) {
    let (cluster, _chat) = chat(&settings(database)).await;
    let mut li_lei = Member::join(&cluster, 0, LI_LEI).await;
    let said = json!({"content": "hi", "key": "k1"});
    let receipt = li_lei.ask("send", said.clone()).await;
    let message = li_lei.client.json().await;

    // As after a lost connection: nobody knows whether it has arrived.
    let mut again = Member::join(&cluster, 0, LI_LEI).await;
    assert_eq!(again.ask("send", said.clone()).await, receipt);
    assert_eq!(again.client.json().await, message);
    let other_words = json!({"content": "hello", "key": "k1"});
    assert_eq!(again.ask("send", other_words).await, receipt, "the key counts");
    assert_eq!(again.client.json().await, message);

    // Another's key is another, and so is one's own in another thread.
    let mut others = Vec::new();
    for place in [HAN_MEIMEI, (1, 2, 2, "李雷")] {
        let mut other = Member::connect(&cluster, 0, place).await;
        others.push(other.ask("send", said.clone()).await["mes_id"].clone());
    }
    assert!(!others.contains(&receipt["mes_id"]), "{others:?}");
    let history = Member::join(&cluster, 0, HAN_MEIMEI).await.ask("history", json!({})).await;
    let contents: Vec<_> = history["messages"].as_array().unwrap().iter().map(|m| &m["content"]).collect();
    assert_eq!(contents[1..], ["hi", "hi"]);
}

async fn a_message_is_sent_as_stored_and_reaches_every_gateway(database: &str) {
    let cluster = Cluster::builder().workers(0).gateways(2).start().await;
    let settings = settings(database);
    let _one = start(&cluster, &settings).await;
    let _other = start(&cluster, &settings).await;
    let mut teacher = Member::join(&cluster, 0, TEACHER).await;
    let mut li_lei = Member::join(&cluster, 1, LI_LEI).await;
    let mut elsewhere = Member::join(&cluster, 1, (1, 2, 3, "韩梅梅")).await;

    let html = "<b>你好</b> 👋 \"' \\ ; DROP TABLE messages";
    let receipt = teacher.ask("send", json!({"content": format!("  {html}\n")})).await;
    assert_eq!((&receipt["op"], &receipt["code"]), (&json!("send"), &json!(105)));
    let message = teacher.client.json().await;
    assert_eq!(message["id"], receipt["mes_id"]);
    assert_eq!(message["op"], Value::Null);
    assert_eq!(message["content"], html);
    assert_eq!(message["speaker_name"], "王老师");
    assert_eq!((&message["belong_class"], &message["belong_thread"]), (&json!(1), &json!(1)));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    assert!((now - message["created_at"].as_i64().unwrap()).abs() < 60_000, "{message}");
    assert_eq!(li_lei.client.json().await, message);
    let history = li_lei.ask("history", json!({})).await;
    assert_eq!(history["messages"].as_array().unwrap().last().unwrap(), &message);

    // A page may store a message in another way and send its id, as the original's pages do.
    let insert = "INSERT INTO messages (id, belong_class, belong_thread, speaker, content) VALUES (77, 1, 1, 2, '作业')";
    sql(database, insert).await;
    assert_eq!(teacher.code("send", json!({"mes_id": 77})).await, 108, "it is somebody else's");
    let elsewhere_in_class = json!({"mes_id": 77, "thread_id": 2});
    assert_eq!(li_lei.code("send", elsewhere_in_class).await, 108, "it is another thread's");
    assert_eq!(li_lei.code("send", json!({"mes_id": 77})).await, 105);
    assert_eq!(teacher.client.json().await["content"], "作业");
    assert_eq!(li_lei.client.json().await["id"], 77);

    // A member that has left receives nothing more, and one in another thread has received nothing.
    assert_eq!(li_lei.ask("leave", json!({})).await, json!({"op": "leave", "thread": 1, "status": true}));
    teacher.send("再见").await;
    for quiet in [&mut li_lei, &mut elsewhere] {
        quiet.client.send("{\"action\":\"keep\"}").await;
        assert_eq!(quiet.client.json().await["op"], "keep");
    }
}

async fn the_history_comes_in_pages(database: &str) {
    let (cluster, _chat) = chat(&Settings { history_page: 3, ..settings(database) }).await;
    let mut teacher = Member::join(&cluster, 0, TEACHER).await;
    for n in 1..=6 {
        teacher.send(&n.to_string()).await;
    }
    let contents = |page: &Value| -> Vec<String> {
        let messages = page["messages"].as_array().unwrap();
        messages.iter().map(|message| message["content"].as_str().unwrap().to_owned()).collect()
    };
    let mut li_lei = Member::connect(&cluster, 0, LI_LEI).await;
    let joined = li_lei.ask("join", json!({})).await;
    assert_eq!(
        (contents(&joined), &joined["more"]),
        (vec!["4".into(), "5".into(), "6".into()], &json!(true))
    );
    let page = li_lei.ask("history", json!({"before": joined["messages"][0]["id"]})).await;
    assert_eq!((contents(&page), &page["more"]), (vec!["1".into(), "2".into(), "3".into()], &json!(true)));
    assert_eq!(page["before"], joined["messages"][0]["id"]);
    let page = li_lei.ask("history", json!({"before": page["messages"][0]["id"]})).await;
    assert_eq!((contents(&page).len(), &page["more"]), (1, &json!(false)), "the demo's greeting");
    let page = li_lei.ask("history", json!({"before": page["messages"][0]["id"]})).await;
    assert_eq!((contents(&page).len(), &page["more"]), (0, &json!(false)));
    let page = li_lei.ask("history", json!({"before": -1})).await;
    assert_eq!(contents(&page).len(), 0);
}

async fn the_members_online_are_listed(database: &str) {
    let (cluster, _chat) = chat(&settings(database)).await;
    let mut teacher = Member::connect(&cluster, 0, TEACHER).await;
    let joined = teacher.ask("join", json!({"watch": true})).await;
    let online = |list: &Value| -> Vec<i64> {
        let members = list["members"].as_array().unwrap().iter();
        members
            .filter(|member| member["online"] == true)
            .map(|member| member["id"].as_i64().unwrap())
            .collect()
    };
    assert_eq!(online(&joined), [1]);
    assert_eq!(joined["members"].as_array().unwrap().len(), 3);

    let li_lei = Member::join(&cluster, 0, LI_LEI).await;
    let came = teacher.client.json().await;
    let presence =
        |online| json!({"op": "presence", "thread": 1, "user": {"id": 2, "name": "李雷", "online": online}});
    assert_eq!(came, presence(true));
    let on_his_phone = Member::join(&cluster, 0, LI_LEI).await;
    assert_eq!(teacher.client.json().await, presence(true));
    assert_eq!(online(&teacher.ask("members", json!({})).await), [1, 2]);

    // One of two connections gone, he is still there.
    li_lei.client.close().await;
    let mut han_meimei = Member::join(&cluster, 0, HAN_MEIMEI).await;
    assert_eq!(teacher.client.json().await["user"]["id"], 3);
    on_his_phone.client.close().await;
    assert_eq!(teacher.client.json().await, presence(false));
    assert_eq!(han_meimei.ask("leave", json!({})).await["op"], "leave");
    assert_eq!(teacher.client.json().await["user"], json!({"id": 3, "name": "韩梅梅", "online": false}));
    assert_eq!(online(&teacher.ask("members", json!({})).await), [1]);
}

pub(crate) async fn a_client_over_the_rate_gets_an_error() {
    let database = Sqlite::new();
    let settings = Settings { burst: 3, requests_per_second: 1, ..settings(&database.url()) };
    let (cluster, _chat) = chat(&settings).await;
    let mut member = Member::connect(&cluster, 0, LI_LEI).await;
    let mut refused = 0;
    for _ in 0..10 {
        member.client.send("{\"action\":\"keep\"}").await;
    }
    for _ in 0..10 {
        refused += usize::from(member.client.json().await["code"] == 110);
    }
    assert!((5..=7).contains(&refused), "{refused}");
    let mut other = WsClient::connect(cluster.listener()).await;
    other.json().await;
    other.send("{\"action\":\"keep\"}").await;
    assert_eq!(other.json().await["op"], "keep", "others are not concerned");
}

pub(crate) async fn a_connection_over_the_limit_of_threads_gets_an_error() {
    let database = Sqlite::new();
    let (cluster, _chat) = chat(&settings(&database.url())).await;
    let first = 100;
    for id in first..=first + MAX_THREADS as i64 {
        sql(&database.url(), &format!("INSERT INTO threads VALUES ({id}, 1, 'thread')")).await;
    }
    let mut member = Member::connect(&cluster, 0, LI_LEI).await;
    for n in 0..MAX_THREADS as i64 {
        assert_eq!(member.code("join", json!({"thread_id": first + n})).await, 100);
    }
    let last = json!({"thread_id": first + MAX_THREADS as i64});
    assert_eq!(member.code("join", last.clone()).await, 112);
    assert_eq!(member.ask("leave", json!({"thread_id": first})).await["op"], "leave");
    assert_eq!(member.code("join", last).await, 100);
}
