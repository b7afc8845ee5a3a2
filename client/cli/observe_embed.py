#!/usr/bin/env python3
"""Turns the page of `tally observe` into C: observe_embed.py INPUT OUTPUT."""
import sys


def main():
    with open(sys.argv[1], "rb") as file:
        before, after = file.read().split(b"@DATA@")
    with open(sys.argv[2], "w", encoding="ascii") as file:
        file.write('#include "client/cli/observe_page.h"\n\n')
        for name, part in (("before", before), ("after", after)):
            file.write("const size_t observe_page_%s_size = %d;\n" % (name, len(part)))
            file.write("const unsigned char observe_page_%s[%d] = {\n" % (name, len(part)))
            for i in range(0, len(part), 16):
                file.write("    " + "".join("0x%02x," % b for b in part[i:i + 16]) + "\n")
            file.write("};\n")


main()
