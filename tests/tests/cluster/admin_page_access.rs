//! Who may use the page for operators, and how it is protected from other pages.

use gatewayworker_tests::{ADMIN_TOKEN, AdminPage, Cluster, HttpAnswer, HttpRequest};
use serde_json::json;

const KEY: &str = "the key of the cluster";

/// The requests that need the token.
fn of_operators(page: &AdminPage) -> [HttpRequest; 4] {
    let post = |path, body| HttpRequest::post(page.address, path, &body);
    [
        page.get("/api/warnings"),
        post("/api/inspect", json!({"about": "clients"})),
        post("/api/call", json!({"call": "send_to_all", "params": {"message": "hello"}})),
        post("/api/trace", json!({"id": "7f00000108fc00000001"})),
    ]
}

#[tokio::test]
async fn what_is_about_clients_needs_the_token_and_an_address_that_guesses_is_locked_out() {
    let cluster = Cluster::builder().secret_key(KEY).start().await;
    let page = AdminPage::start(&cluster, KEY).await;
    for request in of_operators(&page) {
        assert_eq!(request.send().await.problem(), (401, "unauthorized"), "{request:?}");
        assert_eq!(
            request.clone().token("wrong").send().await.problem(),
            (401, "unauthorized"),
            "{request:?}"
        );
        let basic = request.header("authorization", &format!("Basic {ADMIN_TOKEN}"));
        assert_eq!(basic.send().await.problem(), (401, "unauthorized"));
    }
    // The open answers count wrong tokens, too.
    for _ in 0..6 {
        let shown = page.get("/api/cluster").token("wrong").send().await;
        assert_eq!((shown.status, &shown.body["token"]), (200, &json!("needed")));
    }
    let right = page.get("/api/warnings").token(ADMIN_TOKEN).send().await;
    assert_eq!(right.problem(), (429, "too_many_failures"));
    assert!(right.header("retry-after").is_some());
    let shown = page.get("/api/cluster").token(ADMIN_TOKEN).send().await;
    assert_eq!(
        (shown.status, &shown.body["token"]),
        (200, &json!("locked_out")),
        "numbers are there all the same"
    );
}

#[tokio::test]
async fn where_no_token_is_set_nobody_sees_a_client() {
    let cluster = Cluster::builder().secret_key(KEY).start().await;
    let page = AdminPage::with_token(&cluster, KEY, "").await;
    assert_eq!(page.cluster().await["token"], "none");
    for request in of_operators(&page) {
        for request in
            [request.clone(), request.clone().token(ADMIN_TOKEN), request.header("authorization", "Bearer ")]
        {
            assert_eq!(request.send().await.problem(), (403, "no_token"), "{request:?}");
        }
    }
}

#[tokio::test]
async fn another_pages_requests_and_other_names_of_the_host_are_refused() {
    let cluster = Cluster::builder().secret_key(KEY).start().await;
    let page = AdminPage::start(&cluster, KEY).await;
    let own = format!("http://{}", page.address);
    let paths = ["/", "/app.js", "/api/cluster", "/api/history", "/api/calls", "/nothing"];
    let all = || {
        paths
            .map(|path| page.get(path))
            .into_iter()
            .chain(of_operators(&page).map(|one| one.token(ADMIN_TOKEN)))
    };
    for request in all() {
        for origin in ["https://evil.example.com", "null", "http://localhost:1"] {
            let foreign = request.clone().header("origin", origin).send().await;
            assert_eq!(foreign.problem(), (403, "origin_not_allowed"), "{request:?} {origin}");
        }
        for host in ["evil.example.com", "localhost.evil.example.com", &format!("x{}", page.address)] {
            let foreign = request.clone().header("host", host).send().await;
            assert_eq!(foreign.problem(), (403, "host_not_allowed"), "{request:?} {host}");
        }
        let preflight = HttpRequest::new(page.address, "OPTIONS", "/api/call")
            .header("origin", "https://evil.example.com")
            .header("access-control-request-method", "POST");
        let answer = preflight.send().await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (403, None));
    }
    let inspect = page.post("/api/inspect", &json!({"about": "gateway"}));
    assert_eq!(inspect.clone().header("origin", &own).send().await.status, 200);
    for (host, origin) in [
        ("localhost:9600", "http://localhost:9600"),
        ("admin.example.com", "https://admin.example.com"),
        ("ADMIN.example.com:8443", "https://admin.example.com:8443"),
    ] {
        let request = inspect.clone().header("host", host).header("origin", origin);
        assert_eq!(request.send().await.status, 200, "{host}");
    }
}

#[tokio::test]
async fn nothing_is_done_by_a_get_or_by_a_form_or_by_a_body_that_is_too_long() {
    let cluster = Cluster::builder().secret_key(KEY).start().await;
    let page = AdminPage::start(&cluster, KEY).await;
    for path in ["/api/inspect", "/api/call", "/api/trace"] {
        for method in ["GET", "HEAD", "PUT", "DELETE", "PATCH"] {
            let request = HttpRequest::new(page.address, method, path).token(ADMIN_TOKEN);
            assert_eq!(request.send().await.status, 405, "{method} {path}");
        }
        let form = HttpRequest::new(page.address, "POST", path).token(ADMIN_TOKEN).body("{}");
        for form in [form.clone(), form.header("content-type", "text/plain")] {
            assert_eq!(form.send().await.problem(), (415, "unsupported_media_type"), "{path}");
        }
        let long = json!({"id": "x".repeat(1024 * 1024)});
        assert_eq!(page.post(path, &long).send().await.problem(), (413, "body_too_large"), "{path}");
    }
    for path in ["/", "/app.js", "/api/cluster", "/api/history", "/api/calls", "/api/warnings"] {
        let request = HttpRequest::new(page.address, "POST", path).token(ADMIN_TOKEN);
        assert_eq!(request.send().await.problem(), (405, "method_not_allowed"), "{path}");
    }
    let head = HttpRequest::new(page.address, "HEAD", "/api/cluster").send().await;
    assert_eq!((head.status, head.header("content-type")), (200, Some("application/json")));
}

#[tokio::test]
async fn every_answer_says_that_no_other_page_may_use_it() {
    let cluster = Cluster::builder().secret_key(KEY).start().await;
    let page = AdminPage::start(&cluster, KEY).await;
    let checked = |answer: &HttpAnswer, path: &str| {
        let policy = answer.header("content-security-policy").unwrap_or_default();
        for part in
            ["default-src 'none'", "script-src 'self'", "form-action 'none'", "frame-ancestors 'none'"]
        {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{path}");
        assert_eq!(answer.header("cross-origin-resource-policy"), Some("same-origin"), "{path}");
        assert_eq!(answer.header("set-cookie"), None, "{path}");
        let cache = if path.starts_with("/api/") { Some("no-store") } else { answer.header("cache-control") };
        assert_eq!(answer.header("cache-control"), cache, "{path}");
    };
    for (path, content_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/app.js", "text/javascript; charset=utf-8"),
        ("/app.css", "text/css; charset=utf-8"),
        ("/favicon.svg", "image/svg+xml; charset=utf-8"),
        ("/api/cluster", "application/json"),
        ("/api/nothing", "application/json"),
        ("/api/warnings", "application/json"),
    ] {
        let answer = page.get(path).send().await;
        assert_eq!(answer.header("content-type"), Some(content_type), "{path}");
        checked(&answer, path);
        checked(&page.get(path).header("host", "evil.example.com").send().await, path);
    }
}
