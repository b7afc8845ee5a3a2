/* A program of somebody else: knows only the installed header and library. C and C++. */
#include <tally.h>

#include <stdio.h>
#include <string.h>

int main(void)
{
    struct tally_options options;
    struct tally_client *client = NULL;
    struct tally_error error;
    struct tally_amount amount;
    char text[TALLY_AMOUNT_SIZE];

    if (tally_amount_parse("12.34", 5, 2, &amount, &error) != TALLY_OK)
        return 1;
    tally_amount_format(&amount, 2, text);
    if (strcmp(text, "12.34") != 0)
        return 2;
    memset(&options, 0, sizeof options);
    options.servers = "127.0.0.1:7400";
    options.ca_file = "/nowhere/ca.pem";
    options.certificate_file = "/nowhere/me.pem";
    options.key_file = "/nowhere/me.key";
    if (tally_client_create(&options, &client, &error) != TALLY_INVALID)
        return 3;
    if (strstr(error.text, "/nowhere/") == NULL)
        return 4;
    printf("%s\n", error.text);
    return 0;
}
