"""Numbers of addresses for tests, at the edges and between."""

from __future__ import annotations

from hypothesis import strategies as st

MAPPED = range(0xFFFF << 32, (0xFFFF << 32) + (1 << 32))


EDGES6 = [0, 1, 7, 0xFFFF, 0x10000, (1 << 32) - 1, 1 << 32, (1 << 64) - 1, 1 << 64, (1 << 128) - 1,
          MAPPED[0] - 1, MAPPED[0], MAPPED[-1], MAPPED[-1] + 1,
          0x0064_FF9B << 96, 0x2002_C000_0207 << 80, 0x2001_0DB8 << 96]  # fmt: skip


values4 = st.one_of(st.sampled_from([0, 1, 255, 1 << 31, (1 << 32) - 1]), st.integers(0, (1 << 32) - 1))


values6 = st.one_of(
    st.sampled_from(EDGES6),
    st.integers(0, (1 << 128) - 1),
    # Groups that are often zero, so that the runs of zeros which RFC 5952 shortens come up.
    st.lists(st.sampled_from([0, 0, 0, 1, 0xFFFF]), min_size=8, max_size=8).map(
        lambda groups: sum(group << (16 * place) for place, group in enumerate(groups))
    ),
)
