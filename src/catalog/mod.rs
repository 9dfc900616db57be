pub mod encoded;
