#!/usr/bin/env python3
"""Turns a file into a C array: embed.py INPUT OUTPUT NAME. Used for the descriptor set."""
import sys


def main():
    source, target, name = sys.argv[1:4]
    with open(source, "rb") as f:
        data = f.read()
    with open(target, "w", encoding="ascii") as f:
        f.write('#include "proto/descriptors.h"\n\n')
        f.write("const size_t %s_size = %d;\n" % (name, len(data)))
        f.write("const uint8_t %s[%d] = {\n" % (name, len(data)))
        for i in range(0, len(data), 16):
            f.write("    " + "".join("0x%02x," % b for b in data[i:i + 16]) + "\n")
        f.write("};\n")


main()
