//! A ticket office: a waiting room in front, seats that are locked one by one, a bank that is slow
//! and breaks, and tickets that are printed after the answer.

use super::plan::{
    Plan, Quantity, Service, breaks, cached, call, declines, each, each_at_once, grpc, http,
    in_order, inside, later, outside, publish, query, request, sometimes, store, together,
};

/// Seats in a basket.
const SEATS: Quantity = quantity("seats", 1, 2.4, 8);
/// Blocks of a hall's plan.
const BLOCKS: Quantity = quantity("blocks", 2, 5.0, 16);
/// Dates of a show.
const DATES: Quantity = quantity("dates", 1, 2.5, 10);

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
        request(0.33, "web", "GET /shows/{id}"),
        request(0.21, "web", "GET /shows"),
        request(0.17, "web", "GET /shows/{id}/seats"),
        request(0.11, "web", "POST /baskets/{id}/seats"),
        request(0.06, "web", "GET /queue/{id}"),
        request(0.05, "web", "POST /orders"),
        request(0.04, "web", "GET /orders/{id}"),
        request(0.02, "web", "POST /sessions"),
        request(0.01, "web", "POST /orders/{id}/refund"),
    ];
    let stores = vec![
        store("shows-db", "mysql", 2.4),
        store("shows-cache", "memcached", 0.25),
        store("seats-db", "postgresql", 2.0),
        store("locks", "redis", 0.4),
        store("queue-cache", "redis", 0.3),
        store("orders-db", "mysql", 3.4),
        store("customers-db", "mysql", 2.0),
        store("tickets-store", "s3", 14.0),
        store("reports-db", "clickhouse", 11.0),
        outside("card-bank", 190.0),
        outside("wallet", 80.0),
        outside("mail-relay", 30.0),
    ];
    let mut services = vec![web()];
    services.extend(looking());
    services.extend(buying());
    services.extend(afterwards());
    Plan::new("ticket-office", "rabbitmq", requests, services, stores)
}

fn web() -> Service {
    let admitted = || {
        call("waiting-room", "Queue/Admitted")
            .within(50.0)
            .or_without()
    };
    let signed_in = || call("customers", "Customers/Session");
    http("web")
        .written_in("dotnet")
        .instances(4)
        .op(
            "GET /shows",
            1.9,
            [
                call("shows", "Shows/List"),
                sometimes(
                    0.35,
                    [call("suggest", "Suggest/Shows").within(70.0).or_without()],
                ),
            ],
        )
        .op(
            "GET /shows/{id}",
            1.7,
            [
                admitted(),
                call("shows", "Shows/Get"),
                together([
                    call("venues", "Venues/Get"),
                    each(DATES, [call("prices", "Prices/From")]),
                ]),
            ],
        )
        .op(
            "GET /shows/{id}/seats",
            2.2,
            [
                admitted(),
                call("venues", "Venues/Plan"),
                each_at_once(BLOCKS, [call("seats", "Seats/InBlock")]),
            ],
        )
        .op(
            "POST /baskets/{id}/seats",
            1.6,
            [admitted(), signed_in(), call("baskets", "Baskets/Add")],
        )
        .op(
            "GET /queue/{id}",
            0.5,
            [call("waiting-room", "Queue/Place")],
        )
        .op(
            "POST /orders",
            2.4,
            [signed_in(), call("orders", "Orders/Place")],
        )
        .op(
            "GET /orders/{id}",
            1.1,
            [signed_in(), call("orders", "Orders/Get")],
        )
        .op(
            "POST /sessions",
            0.9,
            [call("customers", "Customers/SignIn")],
        )
        .op(
            "POST /orders/{id}/refund",
            1.3,
            [signed_in(), call("refunds", "Refunds/Ask")],
        )
}

/// What visitors look at.
fn looking() -> [Service; 6] {
    [
        grpc("waiting-room")
            .written_in("rust")
            .op("Queue/Admitted", 0.2, [query("queue-cache", "GET place")])
            .op(
                "Queue/Place",
                0.3,
                [
                    query("queue-cache", "ZRANK queue"),
                    sometimes(0.2, [query("queue-cache", "ZADD queue")]),
                ],
            ),
        grpc("shows")
            .written_in("java")
            .instances(3)
            .op(
                "Shows/List",
                1.6,
                [cached(
                    "shows-cache",
                    "get list",
                    0.9,
                    [query("shows-db", "SELECT shows")],
                )],
            )
            .op(
                "Shows/Get",
                0.9,
                [
                    cached(
                        "shows-cache",
                        "get show",
                        0.88,
                        [
                            query("shows-db", "SELECT shows"),
                            query("shows-db", "SELECT cast"),
                        ],
                    ),
                    declines(0.01, 404),
                ],
            ),
        grpc("venues")
            .written_in("java")
            .op(
                "Venues/Get",
                0.7,
                [cached(
                    "shows-cache",
                    "get venue",
                    0.95,
                    [query("shows-db", "SELECT venues")],
                )],
            )
            .op(
                "Venues/Plan",
                3.0,
                [
                    query("seats-db", "SELECT blocks"),
                    inside("draw the plan", 2.5, []),
                ],
            ),
        grpc("prices").op(
            "Prices/From",
            0.6,
            [cached(
                "shows-cache",
                "get price",
                0.99,
                [query("shows-db", "SELECT prices")],
            )],
        ),
        grpc("seats")
            .written_in("rust")
            .instances(3)
            .op("Seats/InBlock", 0.5, [query("seats-db", "SELECT seats")])
            .op(
                "Seats/Lock",
                0.5,
                [
                    query("locks", "SET lock"),
                    declines(0.03, 409),
                    query("seats-db", "UPDATE seats"),
                ],
            )
            .op(
                "Seats/Unlock",
                0.4,
                [
                    query("locks", "DEL lock"),
                    query("seats-db", "UPDATE seats"),
                ],
            )
            .op(
                "Seats/Sell",
                0.8,
                [
                    query("seats-db", "UPDATE seats"),
                    query("locks", "DEL lock"),
                ],
            ),
        grpc("suggest").written_in("python").op(
            "Suggest/Shows",
            11.0,
            [
                query("reports-db", "SELECT tastes"),
                breaks(0.01, "NoProfile"),
            ],
        ),
    ]
}

/// What visitors pay for.
fn buying() -> [Service; 6] {
    [
        grpc("customers")
            .written_in("dotnet")
            .op(
                "Customers/Session",
                0.4,
                [query("queue-cache", "GET session"), declines(0.01, 401)],
            )
            .op(
                "Customers/SignIn",
                24.0,
                [
                    query("customers-db", "SELECT customers"),
                    declines(0.16, 401),
                    query("queue-cache", "SET session"),
                ],
            )
            .op(
                "Customers/Get",
                0.6,
                [query("customers-db", "SELECT customers")],
            ),
        grpc("baskets").written_in("dotnet").op(
            "Baskets/Add",
            1.0,
            [
                each(SEATS, [call("seats", "Seats/Lock").retried(1)]),
                call("prices", "Prices/From"),
                query("locks", "SET basket"),
                // Seats that nobody pays for come back by themselves.
                sometimes(
                    0.12,
                    [later(
                        "give back in time",
                        [each(SEATS, [call("seats", "Seats/Unlock")])],
                    )],
                ),
            ],
        ),
        grpc("orders")
            .written_in("java")
            .op(
                "Orders/Get",
                1.5,
                [
                    query("orders-db", "SELECT orders"),
                    call("shows", "Shows/Get").or_without(),
                ],
            )
            .op(
                "Orders/Place",
                3.0,
                [
                    query("locks", "GET basket"),
                    declines(0.05, 409),
                    call("customers", "Customers/Get"),
                    sometimes(0.1, [call("vouchers", "Vouchers/Redeem")]),
                    call("payments", "Payments/Take"),
                    each_at_once(SEATS, [call("seats", "Seats/Sell").retried(2)]),
                    query("orders-db", "INSERT orders"),
                    publish("sold"),
                    // A seat that was sold twice is rare, and somebody has to be told.
                    sometimes(
                        0.001,
                        [inside(
                            "sold twice",
                            5.0,
                            [query("orders-db", "SELECT seats"), publish("sold-twice")],
                        )],
                    ),
                ],
            ),
        grpc("vouchers").op(
            "Vouchers/Redeem",
            1.2,
            [
                query("orders-db", "SELECT vouchers"),
                declines(0.25, 409),
                query("orders-db", "UPDATE vouchers"),
            ],
        ),
        grpc("payments")
            .written_in("java")
            .op(
                "Payments/Take",
                2.5,
                [
                    call("fraud", "Fraud/Score").within(120.0).or_without(),
                    query("card-bank", "POST /payments")
                        .within(600.0)
                        .retried(2),
                    declines(0.05, 402),
                    query("orders-db", "INSERT payments"),
                    publish("paid"),
                ],
            )
            .op(
                "Payments/Return",
                2.0,
                [
                    query("wallet", "POST /returns").within(300.0).retried(2),
                    publish("returned"),
                ],
            ),
        grpc("fraud").written_in("python").op(
            "Fraud/Score",
            9.0,
            [
                together([
                    query("customers-db", "SELECT history"),
                    query("reports-db", "SELECT scores"),
                ]),
                declines(0.008, 403),
            ],
        ),
    ]
}

/// What happens after the answer.
fn afterwards() -> [Service; 6] {
    [
        grpc("refunds").written_in("java").op(
            "Refunds/Ask",
            2.0,
            [
                query("orders-db", "SELECT orders"),
                declines(0.3, 409),
                call("payments", "Payments/Return"),
                each_at_once(SEATS, [call("seats", "Seats/Unlock")]),
                query("orders-db", "UPDATE orders"),
            ],
        ),
        grpc("printer").written_in("go").on_both(
            "sold",
            "paid",
            5.0,
            [each(
                SEATS,
                [in_order([
                    inside("print a ticket", 16.0, []),
                    query("tickets-store", "PUT tickets"),
                ])],
            )],
        ),
        grpc("mailer")
            .written_in("python")
            .on(
                "sold",
                6.0,
                [
                    inside("render the mail", 3.0, []),
                    query("mail-relay", "POST /messages").within(120.0),
                ],
            )
            .on(
                "returned",
                5.0,
                [query("mail-relay", "POST /messages").within(120.0)],
            )
            .on("sold-twice", 5.0, [query("mail-relay", "POST /messages")]),
        grpc("ledger")
            .written_in("java")
            .on(
                "paid",
                2.0,
                [
                    query("orders-db", "INSERT bookings"),
                    breaks(0.02, "DeadlockFound"),
                ],
            )
            .on("returned", 2.0, [query("orders-db", "INSERT bookings")]),
        grpc("reports").written_in("python").on(
            "sold",
            4.0,
            [
                query("reports-db", "INSERT sales"),
                sometimes(
                    0.02,
                    [inside(
                        "close the hour",
                        80.0,
                        [query("reports-db", "SELECT sales")],
                    )],
                ),
            ],
        ),
        grpc("letters").written_in("python").on(
            "sold-twice",
            30.0,
            [query("customers-db", "SELECT customers")],
        ),
    ]
}
