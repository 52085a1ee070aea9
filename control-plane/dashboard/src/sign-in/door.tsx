// What stands before everything: one form in the middle of an empty page.
import { Center, Paper, Stack, Title } from "@mantine/core";
import { useEffect, type ReactNode } from "react";

export function Door({ title, onSubmit, children }: { title: string; onSubmit: () => void; children: ReactNode }) {
  useEffect(() => {
    document.title = `${title} · SaveOS`;
  }, [title]);
  return (
    <Center mih="100vh" p="sm" component="main">
      <Paper withBorder radius="lg" p="xl" w="100%" maw={400}>
        <form
          onSubmit={(event) => {
            event.preventDefault();
            onSubmit();
          }}
        >
          <Stack>
            <Title order={1} size="h3">
              {title}
            </Title>
            {children}
          </Stack>
        </form>
      </Paper>
    </Center>
  );
}
