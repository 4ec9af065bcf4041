# SPDX-License-Identifier: MIT
"""gRPC-Web (browsers) to gRPC: what is one is written as the other on its way."""
