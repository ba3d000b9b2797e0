// layout.jsx - what Next.js wants around a page.
export default function Layout({ children }) {
  return <html lang="en"><body>{children}</body></html>;
}
