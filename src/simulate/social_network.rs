//! A social network: HTTP throughout, timelines that are pages of posts, and a fan-out over
//! RabbitMQ to the followers of whoever posts.

use super::plan::{
    Plan, Quantity, Service, breaks, cached, call, declines, each, each_at_once, http, inside,
    later, outside, publish, query, request, sometimes, store, together,
};

/// Batches of posts that a timeline's page is made of.
const PAGE: Quantity = quantity("post batches", 1, 2.0, 6);
/// Links in a post.
const LINKS: Quantity = quantity("links", 0, 0.4, 3);
/// People named in a post.
const MENTIONS: Quantity = quantity("mentions", 0, 0.6, 4);
/// Pictures in a post.
const PICTURES: Quantity = quantity("pictures", 1, 1.3, 4);
/// Batches of followers that a post goes out to,
const FOLLOWERS: Quantity = quantity("follower batches", 1, 2.5, 24);
/// and further ones, if whoever posts is known to everybody.
const FANS: Quantity = quantity("fan batches", 20, 35.0, 90);

const fn quantity(name: &'static str, least: u32, mean: f64, most: u32) -> Quantity {
    Quantity {
        name,
        least,
        mean,
        most,
    }
}

pub(super) fn plan() -> Plan {
    let requests = vec![
        request(0.44, "gateway", "GET /home"),
        request(0.20, "gateway", "GET /users/{id}"),
        request(0.09, "gateway", "POST /posts"),
        request(0.09, "gateway", "GET /notifications"),
        request(0.06, "gateway", "POST /posts/{id}/likes"),
        request(0.04, "gateway", "POST /login"),
        request(0.03, "gateway", "POST /users/{id}/follow"),
        request(0.02, "gateway", "GET /search"),
        request(0.015, "gateway", "DELETE /users/{id}/follow"),
        request(0.01, "gateway", "POST /register"),
        request(0.005, "gateway", "DELETE /posts/{id}"),
    ];
    let stores = vec![
        store("home-cache", "redis", 0.35),
        store("user-timeline-db", "mongodb", 2.2),
        store("user-timeline-cache", "redis", 0.3),
        store("post-db", "mongodb", 2.6),
        store("post-cache", "memcached", 0.22),
        store("graph-db", "mongodb", 1.9),
        store("graph-cache", "redis", 0.3),
        store("user-db", "mongodb", 1.7),
        store("user-cache", "memcached", 0.2),
        store("url-db", "mongodb", 1.5),
        store("media-db", "mongodb", 3.1),
        store("notification-db", "cassandra", 2.0),
        store("people-index", "opensearch", 7.0),
        outside("push.example", 45.0),
    ];
    let mut services = vec![gateway()];
    services.extend(reading());
    services.extend(writing());
    services.extend(behind_the_broker());
    Plan::new("social-network", "rabbitmq", requests, services, stores)
}

fn gateway() -> Service {
    let known = || call("auth", "POST /check").retried(1);
    http("gateway")
        .written_in("cpp")
        .instances(3)
        .op(
            "GET /home",
            0.8,
            [
                known(),
                together([
                    call("home-timeline", "GET /timeline"),
                    call("ads", "GET /slot").within(15.0).or_without(),
                    call("suggestions", "GET /people").within(35.0).or_without(),
                ]),
            ],
        )
        .op(
            "GET /users/{id}",
            0.7,
            [
                known(),
                together([
                    call("user", "GET /profiles/{id}"),
                    call("user-timeline", "GET /timeline/{id}"),
                    call("social-graph", "GET /followers/{id}").or_without(),
                ]),
            ],
        )
        .op(
            "POST /posts",
            0.9,
            [known(), call("compose", "POST /compose")],
        )
        .op(
            "GET /notifications",
            0.5,
            [known(), call("notifications", "GET /unread")],
        )
        .op(
            "POST /posts/{id}/likes",
            0.4,
            [known(), call("posts", "POST /posts/{id}/likes").retried(2)],
        )
        .op("POST /login", 0.6, [call("user", "POST /login")])
        .op(
            "POST /users/{id}/follow",
            0.5,
            [known(), call("social-graph", "POST /follow")],
        )
        .op(
            "DELETE /users/{id}/follow",
            0.5,
            [known(), call("social-graph", "DELETE /follow")],
        )
        .op("POST /register", 0.8, [call("user", "POST /users")])
        .op(
            "DELETE /posts/{id}",
            0.6,
            [known(), call("posts", "DELETE /posts/{id}")],
        )
        .op(
            "GET /search",
            0.7,
            [known(), call("people-search", "GET /people")],
        )
}

/// What makes pages.
fn reading() -> [Service; 8] {
    [
        http("auth")
            .written_in("go")
            .op("POST /check", 0.3, [declines(0.008, 401)]),
        http("home-timeline").written_in("go").op(
            "GET /timeline",
            0.6,
            [
                query("home-cache", "ZREVRANGE timeline"),
                breaks(0.003, "CorruptTimeline"),
                each_at_once(PAGE, [call("posts", "POST /posts/batch")]),
            ],
        ),
        http("user-timeline").written_in("go").op(
            "GET /timeline/{id}",
            0.6,
            [
                cached(
                    "user-timeline-cache",
                    "ZREVRANGE timeline",
                    0.86,
                    [query("user-timeline-db", "find timelines")],
                ),
                each(PAGE, [call("posts", "POST /posts/batch")]),
            ],
        ),
        http("posts")
            .written_in("rust")
            .instances(4)
            .op(
                "POST /posts/batch",
                0.5,
                [cached(
                    "post-cache",
                    "get posts",
                    0.96,
                    [query("post-db", "find posts")],
                )],
            )
            .op(
                "POST /posts",
                0.6,
                [
                    query("post-db", "insert posts"),
                    query("post-cache", "set posts"),
                ],
            )
            .op(
                "POST /posts/{id}/likes",
                0.4,
                [
                    query("post-db", "update posts"),
                    breaks(0.01, "WriteConflict"),
                    publish("likes"),
                ],
            )
            .op(
                "DELETE /posts/{id}",
                0.5,
                [
                    query("post-db", "find posts"),
                    declines(0.1, 403),
                    query("post-db", "delete posts"),
                    query("post-cache", "delete posts"),
                    later(
                        "forget the pictures",
                        [call("media", "DELETE /pictures/{id}").or_without()],
                    ),
                ],
            ),
        http("suggestions").written_in("python").op(
            "GET /people",
            6.0,
            [
                call("social-graph", "GET /followees/{id}"),
                inside("rank", 5.0, []),
                breaks(0.005, "EmptyModel"),
            ],
        ),
        http("ads")
            .written_in("java")
            .op("GET /slot", 2.5, [breaks(0.004, "NoBidder")]),
        http("people-search").written_in("java").op(
            "GET /people",
            2.0,
            [
                query("people-index", "search people").within(120.0),
                call("user", "POST /profiles/batch"),
            ],
        ),
        http("notifications")
            .written_in("elixir")
            .op(
                "GET /unread",
                0.6,
                [query("notification-db", "SELECT unread")],
            )
            .op(
                "POST /notify",
                0.8,
                [query("notification-db", "INSERT unread")],
            ),
    ]
}

/// What takes posts, users and followers in.
fn writing() -> [Service; 8] {
    [
        http("compose").written_in("go").op(
            "POST /compose",
            1.0,
            [
                breaks(0.004, "DraftTooOld"),
                together([
                    call("unique-id", "POST /id"),
                    call("text", "POST /text"),
                    sometimes(0.3, [call("media", "POST /pictures")]),
                    call("user", "GET /profiles/{id}"),
                ]),
                call("posts", "POST /posts").retried(1),
                query("user-timeline-db", "update timelines"),
                publish("posts"),
                // A post that many have reported before is looked at first.
                sometimes(
                    0.001,
                    [call("moderation", "POST /review"), publish("reports")],
                ),
            ],
        ),
        http("unique-id")
            .written_in("go")
            .op("POST /id", 0.1, [inside("count up", 0.03, [])]),
        http("text").written_in("go").op(
            "POST /text",
            0.7,
            [together([
                each_at_once(LINKS, [call("url-shortener", "POST /urls")]),
                each_at_once(MENTIONS, [call("user", "GET /profiles/{id}").or_without()]),
            ])],
        ),
        http("url-shortener").written_in("go").op(
            "POST /urls",
            0.4,
            [query("url-db", "insert urls")],
        ),
        http("media")
            .written_in("nodejs")
            .op(
                "POST /pictures",
                2.0,
                [each(
                    PICTURES,
                    [
                        inside("scale", 12.0, []),
                        query("media-db", "insert pictures"),
                    ],
                )],
            )
            .op(
                "DELETE /pictures/{id}",
                0.8,
                [query("media-db", "delete pictures")],
            ),
        http("user")
            .written_in("java")
            .instances(3)
            .op(
                "GET /profiles/{id}",
                0.5,
                [
                    cached(
                        "user-cache",
                        "get users",
                        0.94,
                        [query("user-db", "find users")],
                    ),
                    declines(0.004, 404),
                ],
            )
            .op(
                "POST /profiles/batch",
                0.7,
                [query("user-cache", "mget users")],
            )
            .op(
                "POST /login",
                18.0,
                [query("user-db", "find users"), declines(0.14, 401)],
            )
            .op(
                "POST /users",
                19.0,
                [
                    query("user-db", "find users"),
                    declines(0.08, 409),
                    query("user-db", "insert users"),
                    call("social-graph", "POST /users"),
                    publish("users"),
                ],
            ),
        http("social-graph")
            .written_in("go")
            .op(
                "GET /followers/{id}",
                0.5,
                [cached(
                    "graph-cache",
                    "ZRANGE followers",
                    0.9,
                    [query("graph-db", "find graph")],
                )],
            )
            .op(
                "GET /followees/{id}",
                0.5,
                [cached(
                    "graph-cache",
                    "ZRANGE followees",
                    0.92,
                    [query("graph-db", "find graph")],
                )],
            )
            .op(
                "POST /follow",
                0.6,
                [
                    together([
                        query("graph-db", "update followees"),
                        query("graph-db", "update followers"),
                        query("graph-cache", "ZADD followees"),
                    ]),
                    publish("follows"),
                ],
            )
            .op(
                "DELETE /follow",
                0.6,
                [
                    query("graph-db", "update followees"),
                    query("graph-db", "update followers"),
                    query("graph-cache", "ZREM followees"),
                ],
            )
            .op("POST /users", 0.4, [query("graph-db", "insert graph")]),
        http("moderation").written_in("python").op(
            "POST /review",
            60.0,
            [query("post-db", "find reports"), declines(0.3, 403)],
        ),
    ]
}

/// What happens after the answer.
fn behind_the_broker() -> [Service; 5] {
    [
        http("fan-out").written_in("go").instances(3).on(
            "posts",
            1.5,
            [
                call("social-graph", "GET /followers/{id}").retried(1),
                each(FOLLOWERS, [query("home-cache", "ZADD timeline")]),
                sometimes(0.02, [each(FANS, [query("home-cache", "ZADD timeline")])]),
            ],
        ),
        http("mention-notifier").written_in("elixir").on(
            "posts",
            1.2,
            [each(MENTIONS, [call("notifications", "POST /notify")])],
        ),
        http("push")
            .written_in("nodejs")
            .on(
                "follows",
                1.8,
                [
                    call("notifications", "POST /notify"),
                    query("push.example", "POST /messages")
                        .within(150.0)
                        .retried(1),
                ],
            )
            .on(
                "likes",
                1.0,
                [sometimes(0.2, [call("notifications", "POST /notify")])],
            ),
        http("indexer")
            .written_in("java")
            .on(
                "users",
                3.0,
                [
                    query("people-index", "index people"),
                    breaks(0.02, "IndexBlocked"),
                ],
            )
            .on("posts", 2.5, [query("people-index", "index posts")]),
        http("watch").written_in("python").on_both(
            "reports",
            "posts",
            12.0,
            [query("post-db", "update posts")],
        ),
    ]
}
