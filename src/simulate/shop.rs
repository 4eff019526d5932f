//! A shop: a storefront in front of gRPC services, and Kafka behind the checkout.

use super::plan::{
    Plan, Quantity, breaks, cached, call, declines, each, each_at_once, grpc, http, in_order,
    inside, later, outside, publish, query, request, sometimes, store, together,
};

/// Lines of this visitor's cart.
const CART: Quantity = quantity("cart lines", 1, 2.2, 9);
/// Parcels that an order is packed into.
const PARCELS: Quantity = quantity("parcels", 1, 1.2, 4);
/// Teasers on the home page.
const TEASERS: Quantity = quantity("teasers", 2, 3.0, 5);

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
        request(0.31, "storefront", "GET /products/{id}"),
        request(0.22, "storefront", "GET /"),
        request(0.19, "storefront", "GET /search"),
        request(0.10, "storefront", "POST /cart"),
        request(0.07, "storefront", "GET /cart"),
        request(0.04, "storefront", "POST /checkout"),
        request(0.03, "storefront", "GET /orders/{id}"),
        request(0.025, "storefront", "POST /login"),
        request(0.01, "storefront", "POST /products/{id}/reviews"),
        request(0.005, "storefront", "POST /orders/{id}/return"),
    ];
    let stores = vec![
        store("catalogue-db", "postgresql", 2.1),
        store("catalogue-cache", "redis", 0.25),
        store("search-index", "elasticsearch", 9.0),
        store("cart-cache", "redis", 0.3),
        store("session-cache", "redis", 0.2),
        store("accounts-db", "postgresql", 1.8),
        store("orders-db", "postgresql", 3.2),
        store("stock-db", "mysql", 1.6),
        store("reviews-db", "mongodb", 2.4),
        outside("bank", 140.0),
        outside("carrier", 60.0),
    ];
    let services = vec![
        storefront(),
        http("images").written_in("go").op(
            "GET /images/{id}",
            1.2,
            [cached(
                "catalogue-cache",
                "GET image",
                0.985,
                [inside("resize", 18.0, [])],
            )],
        ),
        grpc("accounts")
            .written_in("java")
            .op(
                "Accounts/Session",
                0.4,
                [query("session-cache", "GET session")],
            )
            .op(
                "Accounts/Login",
                22.0,
                [
                    query("accounts-db", "SELECT accounts"),
                    declines(0.12, 401),
                    query("session-cache", "SET session"),
                    later("note the login", [query("accounts-db", "UPDATE accounts")]),
                ],
            )
            .op(
                "Accounts/Address",
                0.8,
                [query("accounts-db", "SELECT addresses")],
            ),
        grpc("catalogue")
            .instances(3)
            .op(
                "Catalogue/Product",
                0.9,
                [
                    cached(
                        "catalogue-cache",
                        "GET product",
                        0.93,
                        [query("catalogue-db", "SELECT products")],
                    ),
                    declines(0.006, 404),
                ],
            )
            .op(
                "Catalogue/Featured",
                1.5,
                [cached(
                    "catalogue-cache",
                    "GET featured",
                    0.97,
                    [
                        query("catalogue-db", "SELECT campaigns"),
                        query("catalogue-db", "SELECT products"),
                    ],
                )],
            )
            .op(
                "Catalogue/ByIds",
                1.1,
                [query("catalogue-cache", "MGET product")],
            ),
        grpc("search").written_in("java").op(
            "Search/Query",
            3.0,
            [
                inside("parse the query", 0.4, []),
                query("search-index", "search products").within(250.0),
                sometimes(0.08, [query("search-index", "search suggestions")]),
                call("catalogue", "Catalogue/ByIds"),
            ],
        ),
        grpc("pricing").op(
            "Pricing/Quote",
            0.8,
            [sometimes(
                0.15,
                [call("coupons", "Coupons/Check").or_without()],
            )],
        ),
        grpc("coupons").written_in("python").op(
            "Coupons/Check",
            2.5,
            [query("catalogue-db", "SELECT coupons"), declines(0.2, 404)],
        ),
        grpc("currency").written_in("cpp").op(
            "Currency/Convert",
            0.15,
            [inside("look the rate up", 0.05, [])],
        ),
        grpc("stock")
            .written_in("java")
            .op("Stock/Available", 0.7, [query("stock-db", "SELECT stock")])
            .op(
                "Stock/Reserve",
                1.4,
                [
                    query("stock-db", "SELECT stock"),
                    declines(0.012, 409),
                    query("stock-db", "UPDATE stock"),
                ],
            )
            .op("Stock/Release", 0.9, [query("stock-db", "UPDATE stock")]),
        grpc("recommendations").written_in("python").op(
            "Recommendations/For",
            7.0,
            [
                call("catalogue", "Catalogue/ByIds"),
                breaks(0.004, "ModelNotLoaded"),
            ],
        ),
        grpc("reviews")
            .written_in("dotnet")
            .op("Reviews/Of", 1.2, [query("reviews-db", "find reviews")])
            .op(
                "Reviews/Add",
                1.8,
                [query("reviews-db", "insert reviews"), publish("reviews")],
            ),
        grpc("ads")
            .written_in("java")
            .op("Ads/Pick", 2.2, [breaks(0.006, "ResourceExhausted")]),
        grpc("cart")
            .written_in("dotnet")
            .op("Cart/Get", 0.6, [query("cart-cache", "GET cart")])
            .op(
                "Cart/Add",
                0.9,
                [
                    query("cart-cache", "GET cart"),
                    query("cart-cache", "SET cart"),
                ],
            )
            .op("Cart/Empty", 0.4, [query("cart-cache", "DEL cart")]),
        checkout(),
        grpc("fraud").written_in("python").op(
            "Fraud/Score",
            12.0,
            [query("accounts-db", "SELECT history"), declines(0.01, 403)],
        ),
        grpc("payment").op(
            "Payment/Charge",
            3.0,
            [
                call("fraud", "Fraud/Score").within(150.0).or_without(),
                query("bank", "POST /charges").within(450.0).retried(2),
                declines(0.03, 402),
                query("orders-db", "INSERT payments"),
                publish("payments"),
            ],
        ),
        grpc("shipping").written_in("rust").op(
            "Shipping/Quote",
            1.0,
            [query("carrier", "POST /quotes")
                .within(220.0)
                .retried(1)
                .or_without()],
        ),
        grpc("orders")
            .written_in("java")
            .op(
                "Orders/Get",
                1.6,
                [
                    query("orders-db", "SELECT orders"),
                    query("orders-db", "SELECT lines"),
                ],
            )
            .op(
                "Orders/Place",
                2.4,
                [
                    query("orders-db", "INSERT orders"),
                    each(CART, [query("orders-db", "INSERT lines")]),
                    publish("orders"),
                ],
            )
            .op(
                "Orders/Return",
                2.0,
                [
                    query("orders-db", "SELECT orders"),
                    declines(0.15, 409),
                    query("orders-db", "UPDATE orders"),
                    publish("returns"),
                ],
            ),
        grpc("mailer")
            .written_in("ruby")
            .on(
                "orders",
                9.0,
                [
                    inside("render the mail", 4.0, []),
                    breaks(0.03, "SmtpRefused"),
                ],
            )
            .on("returns", 7.0, [breaks(0.03, "SmtpRefused")]),
        grpc("warehouse")
            .on_both(
                "orders",
                "payments",
                4.0,
                [each(
                    PARCELS,
                    [
                        call("stock", "Stock/Release"),
                        query("carrier", "POST /labels").retried(1),
                    ],
                )],
            )
            .on("returns", 3.0, [query("stock-db", "UPDATE stock")]),
        grpc("invoicing").written_in("java").on(
            "payments",
            6.0,
            [
                query("orders-db", "SELECT orders"),
                inside("write the invoice", 14.0, []),
                query("orders-db", "INSERT invoices"),
            ],
        ),
        grpc("moderation").written_in("python").on(
            "reviews",
            35.0,
            [sometimes(0.1, [query("reviews-db", "update reviews")])],
        ),
    ];
    Plan::new("shop", "kafka", requests, services, stores)
}

fn storefront() -> super::plan::Service {
    let visitor = || call("accounts", "Accounts/Session").or_without();
    let advertised = || call("ads", "Ads/Pick").within(12.0).or_without();
    http("storefront")
        .instances(3)
        .op(
            "GET /",
            2.2,
            [
                visitor(),
                together([
                    call("catalogue", "Catalogue/Featured"),
                    call("recommendations", "Recommendations/For")
                        .within(60.0)
                        .or_without(),
                    advertised(),
                ]),
                each_at_once(TEASERS, [call("images", "GET /images/{id}").or_without()]),
            ],
        )
        .op(
            "GET /search",
            1.8,
            [
                visitor(),
                call("search", "Search/Query").retried(1),
                advertised(),
            ],
        )
        .op(
            "GET /products/{id}",
            2.0,
            [
                visitor(),
                call("catalogue", "Catalogue/Product"),
                together([
                    in_order([
                        call("pricing", "Pricing/Quote"),
                        sometimes(0.25, [call("currency", "Currency/Convert")]),
                    ]),
                    call("stock", "Stock/Available").within(80.0).or_without(),
                    call("reviews", "Reviews/Of").within(40.0).or_without(),
                    call("recommendations", "Recommendations/For")
                        .within(60.0)
                        .or_without(),
                ]),
            ],
        )
        .op(
            "GET /cart",
            1.4,
            [
                visitor(),
                call("cart", "Cart/Get"),
                each_at_once(
                    CART,
                    [
                        call("catalogue", "Catalogue/Product").or_without(),
                        call("pricing", "Pricing/Quote"),
                    ],
                ),
                call("shipping", "Shipping/Quote"),
            ],
        )
        .op(
            "POST /cart",
            1.3,
            [
                visitor(),
                call("stock", "Stock/Available"),
                declines(0.02, 409),
                call("cart", "Cart/Add").retried(1),
            ],
        )
        .op(
            "POST /checkout",
            2.8,
            [visitor(), call("checkout", "Checkout/Place")],
        )
        .op(
            "GET /orders/{id}",
            1.2,
            [visitor(), declines(0.04, 401), call("orders", "Orders/Get")],
        )
        .op("POST /login", 1.0, [call("accounts", "Accounts/Login")])
        .op(
            "POST /products/{id}/reviews",
            1.5,
            [
                visitor(),
                declines(0.1, 401),
                call("reviews", "Reviews/Add"),
            ],
        )
        .op(
            "POST /orders/{id}/return",
            1.5,
            [visitor(), call("orders", "Orders/Return")],
        )
}

fn checkout() -> super::plan::Service {
    grpc("checkout").op(
        "Checkout/Place",
        3.5,
        [
            call("cart", "Cart/Get"),
            together([
                call("accounts", "Accounts/Address"),
                call("shipping", "Shipping/Quote"),
                each(CART, [call("pricing", "Pricing/Quote")]),
            ]),
            each_at_once(CART, [call("stock", "Stock/Reserve").retried(1)]),
            // One order in a thousand is settled by hand before it is paid for.
            sometimes(
                0.001,
                [
                    inside(
                        "settle by hand",
                        40.0,
                        [query("accounts-db", "SELECT notes")],
                    ),
                    query("orders-db", "INSERT exceptions"),
                ],
            ),
            call("payment", "Payment/Charge"),
            call("orders", "Orders/Place"),
            call("cart", "Cart/Empty").or_without(),
            later(
                "warm the home page",
                [call("catalogue", "Catalogue/Featured").or_without()],
            ),
        ],
    )
}
