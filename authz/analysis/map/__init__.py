"""Pictures of IPv4 along a Hilbert curve, as PNG and SVG."""
