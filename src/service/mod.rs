//! The whole document; building components; start and drain order.
