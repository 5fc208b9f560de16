"""The patient's record (DMP): lifecycle, and the facts decisions are taken on."""
